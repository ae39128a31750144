# SPDX-License-Identifier: Apache-2.0
"""Polygons and the ego mask: what they leave out is no hazard; files that are none are named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from densehybrid_ros.confidence import Confidence
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.errors import InputError
from densehybrid_ros.hazards import HazardChain, HazardFrame, HazardSettings
from densehybrid_ros.hazards.ego_mask import polygon_mask, polygon_problem, read_ego_mask
from densehybrid_ros.hazards.settings import WHOLE_IMAGE
from densehybrid_ros.perception.settings import Settings

SHAPE = (128, 256)


def _see(mask: str) -> HazardFrame:
    semantic, score = np.zeros(SHAPE, np.uint8), np.full(SHAPE, -9.0, np.float32)
    score[60:70, 40:60] = score[110:128, 100:160] = 3.0  # an obstacle, and the bonnet
    settings = HazardSettings(trigger_count=1, trigger_window=1, ego_mask=read_ego_mask(mask))
    return HazardChain(CITYSCAPES_CLASSES, Confidence(0.0, 1.0)).update(0.0, semantic, score, score > 0, 0.0, settings)


def _saved(path: Path, mask: np.ndarray) -> str:
    cv2.imwrite(str(path), mask)
    return str(path)


def test_what_the_mask_covers_is_no_hazard_at_any_size_of_its_proportions(tmp_path: Path) -> None:
    assert len(_see("").hazards) == 2
    texts = ["0,0.8,1,0.8,1,1,0,1", " 0, .8, 1.0, .8, 1, 1, 0, 1"]
    for width, height in ((256, 128), (64, 32), (2048, 1024)):
        mask = np.zeros((height, width), np.uint8)
        mask[int(0.8 * height) :] = 255
        texts.append(_saved(tmp_path / f"{width}.png", mask))
    for text in texts:
        frame = _see(text)
        assert [hazard.region.top for hazard in frame.hazards] == [60]
        assert frame.problems == ()
    path = _saved(tmp_path / "square.png", np.eye(64, dtype=np.uint8))
    frame = _see(path)
    assert len(frame.hazards) == 2
    assert frame.problems == (f"ego_mask: {path} is 64x64, the image 256x128: not used",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,0.8,1,0.8", "4 numbers; a polygon has at least 3 corners x, y"),
        ("0,0,0,200,640,200", "a number outside 0..1"),
        ("0,0,0.5,0.5,1,1", "the polygon has no area"),
        ("0,0,1,0,1,1,0,1", "all pixels are set"),
        ("0,0.8,1,x", "0,0.8,1,x"),
        ("nowhere.png", "nowhere.png"),
        ("text.png", "text.png"),
        ("photo.png", "8-bit grey"),
        ("full.png", "all pixels are set"),
    ],
)
def test_what_is_no_mask_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("no picture")
    cv2.imwrite("photo.png", np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    cv2.imwrite("full.png", np.ones((8, 8), np.uint8))
    with pytest.raises(InputError, match=message) as caught:
        Settings(ego_mask=text).check()
    assert str(caught.value).startswith(f"parameter ego_mask: {text}")


def test_a_changed_file_is_read_with_the_next_change_of_a_parameter(tmp_path: Path) -> None:
    mask = np.zeros((4, 8), np.uint8)
    mask[0] = 1
    before = Settings(ego_mask=_saved(tmp_path / "mask.png", mask))
    assert before.hazards.ego_mask is not None
    mask[1] = 1
    _saved(tmp_path / "mask.png", mask)
    after = replace(before, trigger_count=2)
    assert after.hazards.ego_mask is not None
    assert (before.hazards.ego_mask.own.sum(), after.hazards.ego_mask.own.sum()) == (8, 16)


def test_polygon_takes_the_pixels_whose_centre_is_inside() -> None:
    mask = polygon_mask((0.0, 0.0, 0.5, 0.0, 0.5, 1.0, 0.0, 1.0), 7, 10)
    assert mask is not None
    np.testing.assert_array_equal(mask, np.arange(10)[None, :].repeat(7, axis=0) < 5)
    triangle = polygon_mask((0.0, 1.0, 0.5, 0.0, 1.0, 1.0), 50, 50)
    assert triangle is not None
    assert triangle.mean() == pytest.approx(0.5, abs=0.02)
    np.testing.assert_array_equal(triangle, triangle[:, ::-1])
    concave = polygon_mask((0.0, 0.0, 0.5, 0.0, 0.5, 0.5, 1.0, 0.5, 1.0, 1.0, 0.0, 1.0), 8, 8)
    expected = np.ones((8, 8), dtype=bool)
    expected[:4, 4:] = False
    np.testing.assert_array_equal(concave, expected)
    assert polygon_mask(WHOLE_IMAGE, 5, 8) is None


def test_numbers_that_are_no_polygon() -> None:
    assert polygon_problem(WHOLE_IMAGE) is None
    for polygon, problem in (((0.0, 0.0, 1.0, 1.0, 0.5), "3 corners"), ((0, 0, 1, 1, 0.5, float("nan")), "0..1")):
        assert problem in str(polygon_problem(polygon))
