"""Cameras of other sizes: results at the camera's size and geometry, and a change of size at run time."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_network import SIZE

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.input_policy import place
from densehybrid_ros.inference.segmenter import Segmenter
from densehybrid_ros.networks import DenseHybrid, LoadedModel, SegmentationNetwork


class BrightnessNetwork(SegmentationNetwork):
    """Class 1 where a 4x4 patch is bright on average, else class 0: shows where things are seen."""

    prelogit_channels = 3
    num_classes = 2

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        patches = torch.nn.functional.avg_pool2d(images, 4)
        bright = patches.mean(dim=1, keepdim=True)
        return patches, torch.cat([20 * (1 - bright), 20 * bright], dim=1)


@pytest.fixture
def brightness(tiny: LoadedModel) -> LoadedModel:
    torch.manual_seed(0)
    return LoadedModel(DenseHybrid(BrightnessNetwork()).eval(), tiny.card, tiny.path)


def test_placements() -> None:
    assert place("exact", (30, 40), (64, 64)).network == (30, 40)
    stretched = place("resize", (30, 40), (64, 96))
    assert (stretched.content, stretched.network) == ((64, 96), (64, 96))
    boxed = place("roi", (30, 40), (60, 120))
    assert (boxed.content, boxed.network) == ((60, 80), (60, 120))
    with pytest.raises(InputError, match="input_policy 'crop': unknown; choose one of exact, resize, roi"):
        place("crop", (30, 40), (64, 64))


def test_letterbox_keeps_the_aspect_and_fills_with_black() -> None:
    image = np.full((30, 40, 3), 200, dtype=np.uint8)
    fitted = place("roi", (30, 40), (60, 120)).fit(image)
    assert fitted.shape == (60, 120, 3)
    assert (fitted[:, :80] == 200).all()
    assert (fitted[:, 80:] == 0).all()
    assert place("exact", (30, 40), (60, 120)).fit(image) is image


@pytest.mark.parametrize("policy", ["exact", "resize", "roi"])
@pytest.mark.parametrize("camera", [(96, 160), (200, 120), (64, 96)], ids=str)
@pytest.mark.parametrize("bgr", [False, True])
def test_a_disc_is_found_where_the_camera_sees_it(brightness, tmp_path: Path, policy, camera, bgr: bool) -> None:
    image = np.zeros((*camera, 3), dtype=np.uint8)
    centre = (camera[1] * 2 // 3, camera[0] // 3)
    cv2.circle(image, centre, 24, (255, 255, 255), -1)
    frame = np.ascontiguousarray(image[:, :, ::-1])[:, :, ::-1] if bgr else image
    segmenter = Segmenter(
        brightness, "eager", "cpu", size=(64, 96), input_policy=policy, cache=tmp_path, warn=lambda _: None
    )
    result = segmenter(frame, 0.0)
    for array in (result.semantic, result.anomaly_score, result.open_set, result.confidence):
        assert array.shape == camera
    expected = image[:, :, 0] > 127
    found = result.semantic == 1
    overlap = (found & expected).sum() / (found | expected).sum()
    assert overlap > 0.85
    rows, columns = np.nonzero(found)
    assert abs(rows.mean() - centre[1]) < 1.0
    assert abs(columns.mean() - centre[0]) < 1.0


def test_a_change_of_size_is_handled_with_a_warning(tiny: LoadedModel, compiled: Path) -> None:
    warnings: list[str] = []
    segmenter = Segmenter(tiny, device="cpu", cache=compiled, warn=warnings.append)
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    segmenter(image[: SIZE[0], : SIZE[1]], 0.0)
    assert (segmenter.backend, warnings) == ("inductor", [])
    assert segmenter(image, 0.0).semantic.shape == (64, 96)
    assert segmenter.backend == "eager"
    assert warnings == [
        "the camera's size changed from 48x32 to 96x64",
        "no compiled engine for 96x64: eager takes over",
    ]
    segmenter(image, 0.0)
    assert len(warnings) == 2
    segmenter(image[: SIZE[0], : SIZE[1]], 0.0)
    assert segmenter.backend == "inductor"
    assert len(warnings) == 3


@pytest.mark.parametrize("policy", ["resize", "roi"])
def test_other_policies_keep_the_compiled_engine(tiny: LoadedModel, compiled: Path, policy: str) -> None:
    warnings: list[str] = []
    segmenter = Segmenter(tiny, device="cpu", cache=compiled, input_policy=policy, warn=warnings.append)
    for camera in ((64, 96), (50, 50)):
        image = np.random.default_rng(0).integers(0, 256, (*camera, 3), dtype=np.uint8)
        assert segmenter(image, 0.0).semantic.shape == camera
        assert segmenter.backend == "inductor"
    assert warnings[0] == f"frames of 96x64 go to the network as 48x32 ({policy})"
    assert len(warnings) == 2
