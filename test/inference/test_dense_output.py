# SPDX-License-Identifier: Apache-2.0
"""The pass after the network: reference, C++ and, in test_device_kernels, Triton agree."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from densehybrid_ros.confidence import Confidence
from densehybrid_ros.inference.cache import Cache
from densehybrid_ros.inference.dense_output import DenseOutput, dense_output
from densehybrid_ros.inference.host_kernels import HostKernels, compiler, host_kernels
from densehybrid_ros.inference.input_policy import Placement, place, resample
from densehybrid_ros.inference.results import packed_output
from densehybrid_ros.networks import HybridOutput

CONFIDENCE = Confidence(-7.0, 2.5)


def random_output(classes: int, rows: int, columns: int, spread: float = 6.0) -> HybridOutput:
    generator = torch.Generator().manual_seed(classes + rows)
    logits = spread * torch.randn(1, classes, rows, columns, generator=generator)
    return HybridOutput(logits, spread * torch.randn(1, 2, rows, columns, generator=generator))


def assert_equal_to_reference(
    made: DenseOutput, reference: DenseOutput, logits: torch.Tensor, threshold: float
) -> None:
    """``logits`` at full size say where the class is clear."""
    torch.testing.assert_close(made.anomaly_score, reference.anomaly_score, atol=1e-3, rtol=0)
    top = logits[0].topk(min(2, logits.shape[1]), dim=0).values
    clear = top[0] - top[-1] > 1e-3 if logits.shape[1] > 1 else torch.ones_like(top[0], dtype=torch.bool)
    assert clear.float().mean() > 0.9
    assert (made.semantic == reference.semantic)[clear].all()
    assert not made.not_finite
    decided = clear & ((reference.anomaly_score - threshold).abs() > 1e-3)
    assert (made.open_set == reference.open_set)[decided].all()
    assert (made.open_set == logits.shape[1]).any()
    assert (made.confidence.int() - reference.confidence.int()).abs().max() <= 1


@pytest.fixture(scope="module")
def kernels(user_cache: Path) -> HostKernels:
    if compiler() is None:
        pytest.skip("no C++ compiler on this machine")
    made, problem = host_kernels(Cache())
    assert made is not None, problem
    return made


@pytest.mark.parametrize(
    ("classes", "maps", "size", "align_corners"),
    [
        pytest.param(19, (9, 17), (36, 68), False, id="x4"),
        pytest.param(64, (9, 7), (31, 61), True, id="corners aligned, odd sizes"),
        pytest.param(2, (16, 12), (5, 7), False, id="smaller than the maps"),
        pytest.param(3, (1, 1), (8, 5), True, id="one position"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cpp_is_equal_to_the_reference(kernels, classes, maps, size, align_corners, dtype) -> None:
    exact = random_output(classes, *maps)
    output = HybridOutput(*(part.to(dtype, memory_format=torch.channels_last) for part in exact))
    reference = dense_output(output, size, -8.0, CONFIDENCE, align_corners)
    threshold = float(reference.anomaly_score.median()) - 1e-6
    reference = dense_output(output, size, threshold, CONFIDENCE, align_corners)
    made = packed_output(size, "cpu")[1]
    for tensor in made:
        tensor.fill_(77)
    kernels.write_dense_output(
        output, Placement(size, size, size).sampling(maps, align_corners), threshold, CONFIDENCE, made
    )
    enlarged = functional.interpolate(output.logits.float(), size, mode="bilinear", align_corners=align_corners)
    assert_equal_to_reference(made, reference, enlarged, threshold)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("head", ["logits", "posterior"])
def test_cpp_shows_what_is_not_finite(kernels, head: str, value: float) -> None:
    output = random_output(5, 4, 6)
    getattr(output, head)[0, :, 1, 2] = value
    made = packed_output((4, 6), "cpu")[1]
    kernels.write_dense_output(output, Placement(*[(4, 6)] * 3).sampling((4, 6), False), -8.0, CONFIDENCE, made)
    assert not made.anomaly_score[1, 2].isfinite()
    assert made.not_finite
    assert dense_output(output, (4, 6), -8.0).not_finite
    getattr(output, head)[0, 0, 1, 2] = 0.0
    kernels.write_dense_output(output, Placement(*[(4, 6)] * 3).sampling((4, 6), False), -8.0, CONFIDENCE, made)
    assert made.anomaly_score[1, 2].isfinite() == dense_output(output, (4, 6), -8.0).anomaly_score[1, 2].isfinite()


def test_cpp_keeps_extreme_scores_finite(kernels) -> None:
    output = HybridOutput(
        torch.full((1, 4, 2, 3), -300.0), torch.tensor([[500.0, -500.0]]).view(1, 2, 1, 1).repeat(1, 1, 2, 3)
    )
    output.logits[0, 1] = 400.0
    made = packed_output((4, 6), "cpu")[1]
    kernels.write_dense_output(output, Placement((4, 6), (4, 6), (4, 6)).sampling((2, 3), False), 0.0, CONFIDENCE, made)
    torch.testing.assert_close(made.anomaly_score, torch.full((4, 6), -1400.0))
    assert not made.not_finite
    assert (made.confidence == 0).all()
    assert (made.semantic == 1).all()


def test_confidence_is_the_cards_probability_in_255_steps() -> None:
    output = random_output(5, 6, 6)
    made = dense_output(output, (24, 24), 0.0, CONFIDENCE)
    expected = np.round(255 / (1 + np.exp(-(made.anomaly_score.double().numpy() + 7.0) / 2.5)))
    assert len(np.unique(expected)) > 50
    assert np.abs(made.confidence.numpy() - expected).max() <= 1


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(36, 68), (31, 50), (9, 17), (3, 4)])
def test_sampling_of_a_whole_frame_is_interpolation(size: tuple[int, int], align_corners: bool) -> None:
    maps = torch.randn(1, 3, 9, 17, generator=torch.Generator().manual_seed(1))
    expected = functional.interpolate(maps, size, mode="bilinear", align_corners=align_corners)
    made = resample(maps, size, Placement(size, size, size).sampling((9, 17), align_corners))
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("align_corners", [False, True])
def test_letterboxed_output_lies_where_the_camera_saw_it(align_corners: bool) -> None:
    placement = place("letterbox", (40, 60), (64, 64), 32)
    assert placement.content == (43, 64)
    # Each output of the network says which position of the input it stands for.
    at = (torch.arange(16.0) * 63 / 15) if align_corners else (torch.arange(16.0) * 4 + 1.5)
    low = torch.stack(torch.meshgrid(at, at, indexing="ij"))[None]
    made = resample(low, (40, 60), placement.sampling((16, 16), align_corners))[0]
    expected_rows = (torch.arange(40.0) + 0.5) * 43 / 40 - 0.5
    expected_columns = (torch.arange(60.0) + 0.5) * 64 / 60 - 0.5
    inner = slice(4, -4)  # the outermost positions are clamped
    torch.testing.assert_close(made[0, inner, 7], expected_rows[inner], atol=1e-3, rtol=0)
    torch.testing.assert_close(made[1, 7, inner], expected_columns[inner], atol=1e-3, rtol=0)


def test_a_missing_compiler_is_named_and_the_reference_takes_over(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    made, problem = host_kernels(Cache(tmp_path / "cache"))
    assert made is None
    assert "no C++ compiler" in problem
