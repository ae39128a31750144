# SPDX-License-Identifier: Apache-2.0
"""DenseFlow: exact inverse, exact log-determinant, exact density, any size, and files that come back."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from densehybrid_ros.errors import InputError
from densehybrid_ros.networks.dense_flow import FLOWS, DenseFlow, FlowConfig, dequantize, load_flow, save_flow
from densehybrid_ros.training.losses import flow_likelihood_loss

SMALLEST = FlowConfig(units=(2, 1, 1), modules=(1, 1, 1), noise_channels=1, width=4, growth=4, layers=1)


def trained(config: FlowConfig) -> DenseFlow:
    """A flow whose couplings do something, as after training: they start as the identity."""
    torch.manual_seed(0)
    flow = DenseFlow(config)
    for name, parameter in flow.named_parameters():
        if "network.head" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    flow.initialize(torch.rand(4, 3, 32, 32))
    return flow


@torch.no_grad()
@pytest.mark.parametrize("name", sorted(FLOWS))
def test_the_inverse_is_exact_both_ways(name: str) -> None:
    flow = trained(FLOWS[name])
    images = torch.rand(2, 3, 24, 40, generator=torch.Generator().manual_seed(3))
    encoding = flow.encode(images)
    decoded = flow.decode(encoding.latents)
    assert float((decoded - images).abs().max()) < 1e-4
    latents, noise = (sum(part[0].numel() for part in parts) for parts in (encoding.latents, encoding.noise))
    assert latents - noise == images[0].numel()  # a bijection of (image, noise)
    for first, second in zip(encoding.latents, flow.encode(decoded, encoding.noise).latents, strict=True):
        torch.testing.assert_close(first, second, atol=2e-4, rtol=1e-4)


@pytest.mark.gpu
def test_the_inverse_is_exact_on_a_gpu() -> None:
    flow = trained(FLOWS["dense_flow_45_6"]).cuda()
    images = torch.rand(4, 3, 64, 96, device="cuda")
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        restored = flow.decode(flow.encode(images).latents)
    assert float((restored - images).abs().max()) < 1e-4


def test_the_log_determinant_is_that_of_the_jacobian() -> None:
    flow = trained(SMALLEST).double()
    size = (8, 8)
    images = torch.rand(1, 3, *size, dtype=torch.float64)
    noise = flow.draw_noise(1, size)
    parts = [images, *noise]

    def flat(values: torch.Tensor) -> torch.Tensor:
        pieces = values.split([part.numel() for part in parts])
        shaped = [piece.view(part.shape) for piece, part in zip(pieces, parts, strict=True)]
        return torch.cat([latent.flatten() for latent in flow.encode(shaped[0], shaped[1:]).latents])

    jacobian = torch.autograd.functional.jacobian(flat, torch.cat([part.flatten() for part in parts]))
    expected = torch.linalg.slogdet(jacobian).logabsdet
    assert flow.encode(images, noise).log_determinant.item() == pytest.approx(float(expected), abs=1e-8)


def test_without_noise_the_density_is_that_of_what_is_sampled() -> None:
    """Change of variables by hand: ln p(x) = ln N(z) - ln|det dx/dz|, from the Jacobian of the decoder."""
    flow = trained(FlowConfig((1, 1, 1), (1, 1, 1), noise_channels=1, width=4, growth=4, layers=1)).double()
    latents = flow.draw_latents(1, (8, 8), torch.Generator().manual_seed(1))

    def flat(values: torch.Tensor) -> torch.Tensor:
        pieces = values.split([part.numel() for part in latents])
        return flow.decode([p.view(part.shape) for p, part in zip(pieces, latents, strict=True)]).flatten()

    z = torch.cat([part.flatten() for part in latents])
    jacobian = torch.autograd.functional.jacobian(flat, z)
    expected = -0.5 * (z.square() + math.log(2 * math.pi)).sum() - torch.linalg.slogdet(jacobian).logabsdet
    with torch.no_grad():
        assert float(flow.log_likelihood(flow.decode(latents))) == pytest.approx(float(expected), rel=1e-9)


def test_training_lowers_the_bits_from_the_eight_of_evenly_spread_pixels() -> None:
    flow = trained(FLOWS["dense_flow_tiny"])
    generator = torch.Generator().manual_seed(5)
    smooth = torch.nn.functional.interpolate(torch.rand(32, 3, 4, 4, generator=generator), scale_factor=4.0)
    assert float(flow_likelihood_loss(lambda images, noise: torch.zeros(len(images)), smooth)) == 8
    flow.initialize(dequantize(smooth, generator))
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    history = []
    for _ in range(30):
        loss = flow_likelihood_loss(flow, smooth, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < history[0] - 0.5


def test_samples_have_the_size_asked_for_and_carry_gradients() -> None:
    flow = trained(FLOWS["dense_flow_tiny"])
    images, same = (flow.sample(2, (16, 40), torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(images, same)
    assert images.shape == (2, 3, 16, 40)
    assert 0 <= images.min() <= images.max() <= 1
    images.square().sum().backward()
    lacking = {name for name, parameter in flow.named_parameters() if parameter.grad is None}
    assert all("augmentations" in name for name in lacking)  # appended channels are dropped on the way back
    assert all(bool(p.grad.isfinite().all()) for p in flow.parameters() if p.grad is not None)
    for size in ((12, 16), (16, 4), (0, 8)):
        with pytest.raises(InputError, match="multiples of 8"):
            flow.sample(1, size)


def test_dequantisation_stays_in_its_step_of_256() -> None:
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    for images in (values, values.float() / 255):
        spread = dequantize(images, torch.Generator().manual_seed(0))
        assert torch.equal((spread * 256).floor().to(torch.uint8), values)
        assert float((spread * 256 - values).std()) > 0.2


@torch.no_grad()
def test_a_saved_flow_comes_back_and_autocast_leaves_it_in_float32(tmp_path: Path) -> None:
    flow = trained(FLOWS["dense_flow_tiny"])
    path = tmp_path / "flow.safetensors"
    save_flow(path, flow, "dense_flow_tiny", {"terms": "none"})
    loaded = load_flow(path)
    assert loaded.details["terms"] == "none"
    images, noise = torch.rand(1, 3, 8, 8), flow.draw_noise(1, (8, 8))
    plain = flow.log_likelihood(images, noise)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loaded.flow.log_likelihood(images, noise), plain)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"flow\.safetensors: damaged.*sha256"):
        load_flow(path)


def test_files_that_are_no_flow_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"half")
    save_flow(tmp_path / "other.safetensors", DenseFlow(SMALLEST), "dense_flow_25_6", {})
    for name, message in (("none", "no such file"), ("broken", "truncated"), ("other", "does not fit dense_flow_25_6")):
        with pytest.raises(InputError, match=rf"{name}\.safetensors: {message}"):
            load_flow(tmp_path / f"{name}.safetensors")
