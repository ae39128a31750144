# SPDX-License-Identifier: Apache-2.0
"""The passes around the network: C++ and, on a GPU or in Triton's interpreter, Triton agree with the reference."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from densehybrid_ros.confidence import Confidence
from densehybrid_ros.inference.cache import default_cache
from densehybrid_ros.inference.dense_output import DenseOutput, dense_output
from densehybrid_ros.inference.host_kernels import compiler, host_kernels
from densehybrid_ros.inference.input_policy import Placement, Sampling, place, resample
from densehybrid_ros.inference.results import packed_output
from densehybrid_ros.networks import HybridOutput

CONFIDENCE = Confidence(-7.0, 2.5)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def random_output(classes: int, rows: int, columns: int, spread: float = 6.0) -> HybridOutput:
    generator = torch.Generator().manual_seed(classes + rows)
    logits = spread * torch.randn(1, classes, rows, columns, generator=generator)
    return HybridOutput(logits, spread * torch.randn(1, 2, rows, columns, generator=generator))


def whole(size: tuple[int, int], maps: tuple[int, int], align_corners: bool = False) -> Sampling:
    return Placement(size, size, size).sampling(maps, align_corners)


def controls(threshold: float, swapped: bool = False) -> torch.Tensor:
    return torch.tensor([threshold, CONFIDENCE.midpoint, CONFIDENCE.scale, float(swapped)], device=DEVICE)


@pytest.fixture(scope="module")
def device_kernels():
    """The module of the Triton kernels."""
    if DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("no CUDA device; TRITON_INTERPRET=1 runs these in Triton's interpreter")
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed: PyTorch's CPU wheels come without it")
    return importlib.import_module("densehybrid_ros.inference.device_kernels")


@pytest.fixture(scope="module", params=["C++", "Triton"])
def write(request: pytest.FixtureRequest, user_cache: Path) -> Callable[..., DenseOutput]:
    """Writes results of ``size`` over other values, and returns them on the CPU."""
    if request.param == "C++":
        if compiler() is None:
            pytest.skip("no C++ compiler on this machine")
        kernels, problem = host_kernels(default_cache())
        assert kernels is not None, problem

        def on_the_host(output: HybridOutput, size, sampling: Sampling, threshold: float = -8.0) -> DenseOutput:
            buffer, made = packed_output(size, "cpu")
            buffer.fill_(77)
            kernels.write_dense_output(output, sampling, threshold, CONFIDENCE, made)
            return made

        return on_the_host
    device_kernels = request.getfixturevalue("device_kernels")

    def on_the_device(output: HybridOutput, size, sampling: Sampling, threshold: float = -8.0) -> DenseOutput:
        buffer, made = packed_output(size, DEVICE)
        buffer[:-1] = 77
        output = HybridOutput(*(part.to(DEVICE) for part in output))
        device_kernels.write_dense_output(output, sampling, controls(threshold), made)
        return DenseOutput(*(part.cpu() for part in made))

    return on_the_device


def assert_equal_to_reference(
    made: DenseOutput, reference: DenseOutput, logits: torch.Tensor, threshold: float
) -> None:
    """``logits`` at full size say where the class is clear."""
    torch.testing.assert_close(made.anomaly_score, reference.anomaly_score, atol=1e-3, rtol=0)
    top = logits[0].topk(2, dim=0).values
    clear = top[0] - top[-1] > 1e-3
    assert clear.float().mean() > 0.9
    assert (made.semantic == reference.semantic)[clear].all()
    assert not made.not_finite
    decided = clear & ((reference.anomaly_score - threshold).abs() > 1e-3)
    assert (made.open_set == reference.open_set)[decided].all()
    assert (made.open_set == logits.shape[1]).any()
    assert (made.confidence.int() - reference.confidence.int()).abs().max() <= 1


@pytest.mark.parametrize(
    ("classes", "maps", "size", "align_corners"),
    [
        pytest.param(19, (4, 70), (16, 280), False, id="x4, two blocks a row"),
        pytest.param(64, (9, 7), (31, 61), True, id="64 classes, corners aligned, odd sizes"),
        pytest.param(2, (16, 12), (5, 7), False, id="smaller than the maps"),
        pytest.param(3, (1, 1), (8, 5), True, id="one position"),
    ],
)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_both_are_equal_to_the_reference(write, classes, maps, size, align_corners, dtype, memory_format) -> None:
    output = HybridOutput(*(part.to(dtype, memory_format=memory_format) for part in random_output(classes, *maps)))
    score = dense_output(output, size, -8.0, CONFIDENCE, align_corners).anomaly_score
    threshold = float(score.median()) - 2e-3
    reference = dense_output(output, size, threshold, CONFIDENCE, align_corners)
    made = write(output, size, whole(size, maps, align_corners), threshold)
    enlarged = functional.interpolate(output.logits.float(), size, mode="bilinear", align_corners=align_corners)
    assert_equal_to_reference(made, reference, enlarged, threshold)


def test_dense_output_of_a_letterboxed_frame(write) -> None:
    output, placement = random_output(5, 16, 16), place("letterbox", (20, 30), (64, 64), 32)
    positions = placement.sampling((16, 16), align_corners=False)
    reference = dense_output(output, (20, 30), -8.0, CONFIDENCE, sampling=positions)
    enlarged = resample(output.logits, (20, 30), positions)
    assert_equal_to_reference(write(output, (20, 30), positions), reference, enlarged, -8.0)


@pytest.mark.parametrize("steepness", [6.0, 30.0, 400.0])
def test_logits_may_change_by_any_amount_from_pixel_to_pixel(write, steepness: float) -> None:
    """Where they change little, four rows share exponentials on a GPU; elsewhere each has its own."""
    size, exact = (16, 280), random_output(19, 4, 70)
    output = HybridOutput(steepness * exact.logits, exact.posterior)
    reference = dense_output(output, size, 0.0, CONFIDENCE)
    made = write(output, size, whole(size, (4, 70)), 0.0)
    torch.testing.assert_close(made.anomaly_score, reference.anomaly_score, atol=1e-3, rtol=1e-5)
    assert bool(made.anomaly_score.isfinite().all())
    assert not made.not_finite
    assert float(reference.anomaly_score.abs().max()) > 4 * steepness / 6


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("head", ["logits", "posterior"])
@pytest.mark.parametrize("size", [(16, 280), (13, 281), (4, 70)], ids=["x4", "any size", "that of the maps"])
def test_one_value_that_is_not_finite_marks_the_frame(write, size: tuple[int, int], head: str, value: float) -> None:
    output, positions = random_output(19, 4, 70), whole(size, (4, 70))
    assert not write(output, size, positions).not_finite
    getattr(output, head)[0, 1, 2, 69] = value
    assert int(write(output, size, positions).not_finite) == 1
    getattr(output, head)[0, :, 2, 69] = value
    for made in (write(output, size, positions), dense_output(output, size, -8.0)):
        assert int(made.not_finite) == 1
        assert size != (4, 70) or not made.anomaly_score[2, 69].isfinite()


def test_extreme_scores_stay_finite(write) -> None:
    posterior = torch.tensor([[500.0, -500.0]]).view(1, 2, 1, 1).repeat(1, 1, 2, 3)
    output = HybridOutput(torch.full((1, 4, 2, 3), -300.0), posterior)
    output.logits[0, 1] = 400.0
    made = write(output, (4, 6), whole((4, 6), (2, 3)), 0.0)
    torch.testing.assert_close(made.anomaly_score, torch.full((4, 6), -1400.0))
    assert not made.not_finite
    assert (made.confidence == 0).all()
    assert (made.semantic == 1).all()


def test_closed_set_writes_class_ids_alone(device_kernels) -> None:
    output = HybridOutput(*(part.to(DEVICE) for part in random_output(5, 4, 4)))
    buffer, made = packed_output((16, 16), DEVICE)
    buffer.fill_(77)
    alone = HybridOutput(output.logits, output.logits)
    device_kernels.write_dense_output(alone, whole((16, 16), (4, 4)), controls(0.0), made, open_set=False)
    assert (made.semantic == dense_output(output, (16, 16), 0.0).semantic).all()
    assert (made.open_set == 77).all()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("swapped", [False, True])
def test_network_input_is_scaled_and_ordered(device_kernels, dtype, memory_format, swapped: bool) -> None:
    image = torch.randint(0, 256, (5, 300, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    made = torch.full((1, 3, 5, 300), 9.0, dtype=dtype, device=DEVICE).contiguous(memory_format=memory_format)
    mark = torch.ones(1, dtype=torch.uint8, device=DEVICE)
    device_kernels.write_network_input(image.to(DEVICE), controls(0.0, swapped), made, mark)
    assert int(mark) == 0
    expected = (image.permute(2, 0, 1).unsqueeze(0) / 255).to(dtype)
    expected = expected.flip(1) if swapped else expected
    torch.testing.assert_close(made.cpu(), expected, atol=1e-3 if dtype == torch.float16 else 1e-6, rtol=0)


def test_confidence_is_the_cards_probability_in_255_steps() -> None:
    made = dense_output(random_output(5, 6, 6), (24, 24), 0.0, CONFIDENCE)
    expected = np.round(255 / (1 + np.exp(-(made.anomaly_score.double().numpy() + 7.0) / 2.5)))
    assert len(np.unique(expected)) > 50
    assert np.abs(made.confidence.numpy() - expected).max() <= 1


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(36, 68), (31, 50), (9, 17), (3, 4)])
def test_sampling_of_a_whole_frame_is_interpolation(size: tuple[int, int], align_corners: bool) -> None:
    maps = torch.randn(1, 3, 9, 17, generator=torch.Generator().manual_seed(1))
    expected = functional.interpolate(maps, size, mode="bilinear", align_corners=align_corners)
    made = resample(maps, size, whole(size, (9, 17), align_corners))
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("align_corners", [False, True])
def test_letterboxed_output_lies_where_the_camera_saw_it(align_corners: bool) -> None:
    placement = place("letterbox", (40, 60), (64, 64), 32)
    assert placement.content == (43, 64)
    # Each output of the network says which position of the input it stands for.
    at = (torch.arange(16.0) * 63 / 15) if align_corners else (torch.arange(16.0) * 4 + 1.5)
    low = torch.stack(torch.meshgrid(at, at, indexing="ij"))[None]
    made = resample(low, (40, 60), placement.sampling((16, 16), align_corners))[0]
    inner = slice(4, -4)  # the outermost positions are clamped
    for found, length, content in ((made[0, :, 7], 40, 43), (made[1, 7], 60, 64)):
        expected = (torch.arange(float(length)) + 0.5) * content / length - 0.5
        torch.testing.assert_close(found[inner], expected[inner], atol=1e-3, rtol=0)


def test_a_missing_compiler_is_named_and_the_reference_takes_over(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    made, problem = host_kernels(tmp_path / "cache")
    assert made is None
    assert "no C++ compiler" in problem
