# SPDX-License-Identifier: Apache-2.0
"""The Triton kernels against the reference: on the GPU, or in Triton's interpreter where there is none."""

from __future__ import annotations

import os

import pytest
import torch
from torch.nn import functional

if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("no CUDA device; TRITON_INTERPRET=1 runs these in Triton's interpreter", allow_module_level=True)
pytest.importorskip("triton", reason="Triton is not installed: PyTorch's CPU wheels come without it")

from test_dense_output import CONFIDENCE, assert_equal_to_reference, random_output

from densehybrid_ros.inference.dense_output import dense_output
from densehybrid_ros.inference.device_kernels import write_dense_output, write_network_input
from densehybrid_ros.inference.input_policy import Placement, place, resample
from densehybrid_ros.inference.results import packed_output
from densehybrid_ros.networks import HybridOutput

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def controls(threshold: float, swapped: bool = False) -> torch.Tensor:
    return torch.tensor([threshold, CONFIDENCE.midpoint, CONFIDENCE.scale, float(swapped)], device=DEVICE)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("classes", "maps", "size", "align_corners"),
    [
        pytest.param(19, (4, 70), (16, 280), False, id="x4, two blocks a row"),
        pytest.param(64, (5, 7), (13, 31), True, id="64 classes, corners aligned"),
        pytest.param(3, (1, 1), (3, 5), False, id="one position"),
    ],
)
def test_dense_output_is_equal_to_the_reference(classes, maps, size, align_corners, dtype, memory_format) -> None:
    exact = random_output(classes, *maps)
    output = HybridOutput(*(part.to(DEVICE, dtype).contiguous(memory_format=memory_format) for part in exact))
    threshold = float(dense_output(output, size, 0.0, CONFIDENCE, align_corners).anomaly_score.median()) - 2e-3
    reference = dense_output(output, size, threshold, CONFIDENCE, align_corners)
    buffer, made = packed_output(size, DEVICE)
    buffer[:-1] = 77
    write_dense_output(output, Placement(size, size, size).sampling(maps, align_corners), controls(threshold), made)
    enlarged = functional.interpolate(output.logits.float(), size, mode="bilinear", align_corners=align_corners)
    assert_equal_to_reference(made, reference, enlarged, threshold)


@pytest.mark.parametrize("steepness", [6.0, 30.0, 400.0])
def test_logits_may_change_by_any_amount_from_pixel_to_pixel(steepness: float) -> None:
    """Where they change little, four rows share exponentials; elsewhere each has its own."""
    size = (16, 280)
    exact = random_output(19, 4, 70)
    output = HybridOutput(steepness * exact.logits.to(DEVICE), exact.posterior.to(DEVICE))
    reference = dense_output(output, size, 0.0, CONFIDENCE)
    made = packed_output(size, DEVICE)[1]
    write_dense_output(output, Placement(size, size, size).sampling((4, 70), False), controls(0.0), made)
    largest = float(reference.anomaly_score.abs().max())
    torch.testing.assert_close(made.anomaly_score, reference.anomaly_score, atol=1e-3, rtol=1e-5)
    assert bool(made.anomaly_score.isfinite().all())
    assert not made.not_finite
    assert largest > 4 * steepness / 6


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("head", ["logits", "posterior"])
@pytest.mark.parametrize("size", [pytest.param((16, 280), id="x4"), pytest.param((13, 281), id="any size")])
def test_one_value_that_is_not_finite_marks_the_frame(size: tuple[int, int], head: str, value: float) -> None:
    output = HybridOutput(*(part.to(DEVICE) for part in random_output(19, 4, 70)))
    positions = Placement(size, size, size).sampling((4, 70), False)
    made = packed_output(size, DEVICE)[1]
    write_dense_output(output, positions, controls(0.0), made)
    assert not made.not_finite
    getattr(output, head)[0, 1, 2, 69] = value
    write_dense_output(output, positions, controls(0.0), made)
    assert int(made.not_finite) == 1


def test_dense_output_of_a_letterboxed_frame() -> None:
    output = HybridOutput(*(part.to(DEVICE) for part in random_output(5, 16, 16)))
    placement = place("letterbox", (20, 30), (64, 64), 32)
    positions = placement.sampling((16, 16), align_corners=False)
    reference = dense_output(output, (20, 30), -8.0, CONFIDENCE, sampling=positions)
    made = packed_output((20, 30), DEVICE)[1]
    write_dense_output(output, positions, controls(-8.0), made)
    assert_equal_to_reference(made, reference, resample(output.logits, (20, 30), positions), -8.0)


def test_closed_set_writes_class_ids_alone() -> None:
    output = HybridOutput(*(part.to(DEVICE) for part in random_output(5, 4, 4)))
    buffer, made = packed_output((16, 16), DEVICE)
    buffer.fill_(77)
    write_dense_output(
        HybridOutput(output.logits, output.logits),
        Placement((16, 16), (16, 16), (16, 16)).sampling((4, 4), False),
        controls(0.0),
        made,
        open_set=False,
    )
    assert (made.semantic == dense_output(output, (16, 16), 0.0).semantic).all()
    assert (made.open_set == 77).all()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("swapped", [False, True])
def test_network_input_is_scaled_and_ordered(dtype, memory_format, swapped: bool) -> None:
    image = torch.randint(0, 256, (5, 300, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    made = torch.full((1, 3, 5, 300), 9.0, dtype=dtype, device=DEVICE).contiguous(memory_format=memory_format)
    mark = torch.ones(1, dtype=torch.uint8, device=DEVICE)
    write_network_input(image.to(DEVICE), controls(0.0, swapped), made, mark)
    assert int(mark) == 0
    expected = (image.permute(2, 0, 1).unsqueeze(0) / 255).to(dtype)
    expected = expected.flip(1) if swapped else expected
    torch.testing.assert_close(made.cpu(), expected, atol=1e-3 if dtype == torch.float16 else 1e-6, rtol=0)
