# SPDX-License-Identifier: Apache-2.0
"""DenseFlow: exact inverse, exact log-determinant, exact density, any size, and files that come back."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from densehybrid_ros.errors import InputError
from densehybrid_ros.networks.dense_flow import FLOWS, DenseFlow, FlowConfig, dequantize, load_flow, save_flow

SMALLEST = FlowConfig(units=(2, 1, 1), modules=(1, 1, 1), noise_channels=1, width=4, growth=4, layers=1)


def trained(config: FlowConfig, seed: int = 0) -> DenseFlow:
    """A flow whose couplings do something, as after training: they start as the identity."""
    torch.manual_seed(seed)
    flow = DenseFlow(config)
    for name, parameter in flow.named_parameters():
        if "network.head" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    flow.initialize(torch.rand(4, 3, 32, 32))
    return flow


@pytest.mark.parametrize("name", sorted(FLOWS))
def test_the_inverse_is_exact(name: str) -> None:
    flow = trained(FLOWS[name])
    images = torch.rand(2, 3, 24, 40, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        encoding = flow.encode(images)
        assert float((flow.decode(encoding.latents) - images).abs().max()) < 1e-4
    latents, noise = (sum(part[0].numel() for part in parts) for parts in (encoding.latents, encoding.noise))
    assert latents - noise == images[0].numel()  # a bijection of (image, noise)


@pytest.mark.gpu
def test_the_inverse_is_exact_on_a_gpu() -> None:
    flow = trained(FLOWS["dense_flow_45_6"]).cuda()
    images = torch.rand(4, 3, 64, 96, device="cuda")
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        restored = flow.decode(flow.encode(images).latents)
    assert float((restored - images).abs().max()) < 1e-4


def test_latents_decode_and_encode_to_themselves() -> None:
    """The other way round: for latents of an image, the kept and the dropped parts come back."""
    flow = trained(FLOWS["dense_flow_tiny"])
    with torch.no_grad():
        encoding = flow.encode(torch.rand(1, 3, 16, 16))
        again = flow.encode(flow.decode(encoding.latents), encoding.noise)
    for first, second in zip(encoding.latents, again.latents, strict=True):
        torch.testing.assert_close(first, second, atol=1e-4, rtol=1e-4)


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
    assert jacobian.shape[0] == jacobian.shape[1]
    expected = torch.linalg.slogdet(jacobian).logabsdet
    assert flow.encode(images, noise).log_determinant.item() == pytest.approx(float(expected), abs=1e-8)


def test_without_noise_the_density_integrates_to_one() -> None:
    """Importance sampling from the flow itself: E_q[p/q] = 1 only where ln p is the density of what is sampled."""
    flow = trained(FlowConfig((1, 1, 1), (1, 1, 1), noise_channels=1, width=4, growth=4, layers=1)).double()
    latents = flow.draw_latents(64, (8, 8), torch.Generator().manual_seed(1))
    with torch.no_grad():
        images = flow.decode(latents)
        log_density = flow.log_likelihood(images)
        # Change of variables by hand: ln p(x) = ln N(z) - ln|det dx/dz|, from the Jacobian of the decoder.
        for index in range(2):
            shapes = [part[index : index + 1].shape for part in latents]

            def flat(values: torch.Tensor, shapes=shapes) -> torch.Tensor:
                pieces = values.split([math.prod(shape) for shape in shapes])
                return flow.decode([p.view(s) for p, s in zip(pieces, shapes, strict=True)]).flatten()

            z = torch.cat([part[index].flatten() for part in latents])
            with torch.enable_grad():
                jacobian = torch.autograd.functional.jacobian(flat, z)
            normal = -0.5 * (z.square() + math.log(2 * math.pi)).sum()
            expected = normal - torch.linalg.slogdet(jacobian).logabsdet
            assert float(log_density[index]) == pytest.approx(float(expected), rel=1e-9)


def test_bits_per_dimension_of_evenly_spread_pixels_are_eight() -> None:
    """A flow that says ln p = 0 on the unit cube says 8 bits a subpixel."""
    flow = trained(FLOWS["dense_flow_tiny"])
    flow.log_likelihood = lambda images, noise=None: torch.zeros(len(images))
    assert flow.bits_per_dimension(torch.rand(3, 3, 8, 8)).tolist() == [8.0, 8.0, 8.0]


def test_training_lowers_the_bits_and_noise_stays_within_its_bound() -> None:
    flow = trained(FLOWS["dense_flow_tiny"])
    generator = torch.Generator().manual_seed(5)
    smooth = torch.nn.functional.interpolate(torch.rand(32, 3, 4, 4, generator=generator), scale_factor=4.0)
    images = dequantize(smooth, generator)
    flow.initialize(images)
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    history = []
    for _ in range(30):
        loss = flow.bits_per_dimension(images).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < history[0] - 0.5


def test_samples_have_the_size_asked_for_and_carry_gradients() -> None:
    flow = trained(FLOWS["dense_flow_tiny"])
    images = flow.sample(2, (16, 40), torch.Generator().manual_seed(1))
    assert images.shape == (2, 3, 16, 40)
    assert images.min() >= 0
    assert images.max() <= 1
    images.square().sum().backward()
    lacking = {name for name, parameter in flow.named_parameters() if parameter.grad is None}
    assert all("augmentations" in name for name in lacking)  # appended channels are dropped on the way back
    assert all(bool(p.grad.isfinite().all()) for p in flow.parameters() if p.grad is not None)
    same = flow.sample(2, (16, 40), torch.Generator().manual_seed(1))
    assert torch.equal(images, same)


def test_autocast_leaves_the_flow_in_float32() -> None:
    flow = trained(FLOWS["dense_flow_tiny"])
    images = torch.rand(1, 3, 16, 16)
    noise = flow.draw_noise(1, (16, 16))
    with torch.no_grad():
        plain = flow.log_likelihood(images, noise)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(flow.log_likelihood(images, noise), plain)


@pytest.mark.parametrize("size", [(12, 16), (16, 4), (0, 8)])
def test_sides_that_do_not_fit_are_named(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="multiples of 8"):
        DenseFlow(SMALLEST).sample(1, size)


def test_dequantisation_stays_in_its_step_of_256() -> None:
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    for images in (values, values.float() / 255):
        spread = dequantize(images, torch.Generator().manual_seed(0))
        assert torch.equal((spread * 256).floor().to(torch.uint8), values)
        assert float((spread * 256 - values).std()) > 0.2


def test_a_saved_flow_comes_back(tmp_path: Path) -> None:
    flow = trained(FLOWS["dense_flow_tiny"])
    save_flow(tmp_path / "flow.safetensors", flow, "dense_flow_tiny", {"terms": "none"})
    loaded = load_flow(tmp_path / "flow.safetensors")
    assert loaded.details["terms"] == "none"
    images = torch.rand(1, 3, 8, 8)
    noise = flow.draw_noise(1, (8, 8))
    with torch.no_grad():
        assert torch.equal(loaded.flow.log_likelihood(images, noise), flow.log_likelihood(images, noise))


def test_files_that_are_no_flow_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.safetensors: no such file"):
        load_flow(tmp_path / "none.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"half")
    with pytest.raises(InputError, match=r"broken\.safetensors: truncated"):
        load_flow(broken)
    other = tmp_path / "other.safetensors"
    save_flow(other, DenseFlow(SMALLEST), "dense_flow_25_6", {})
    with pytest.raises(InputError, match=r"other\.safetensors: does not fit dense_flow_25_6"):
        load_flow(other)


def test_a_flipped_bit_in_a_flow_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "flow.safetensors"
    save_flow(path, DenseFlow(FLOWS["dense_flow_tiny"]), "dense_flow_tiny", {})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"flow\.safetensors: damaged.*sha256"):
        load_flow(path)
