# SPDX-License-Identifier: Apache-2.0
"""The ego mask: what it covers is no hazard; files that are none are named."""

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
from densehybrid_ros.hazards.ego_mask import EgoMask, read_ego_mask
from densehybrid_ros.perception.settings import Settings

SHAPE = (128, 256)
AT_ONCE = HazardSettings(trigger_count=1, trigger_window=1)


def _see(mask: EgoMask | None) -> HazardFrame:
    semantic, score = np.zeros(SHAPE, np.uint8), np.full(SHAPE, -9.0, np.float32)
    score[60:70, 40:60] = score[110:128, 100:160] = 3.0  # an obstacle, and the bonnet
    settings = replace(AT_ONCE, ego_mask=mask)
    return HazardChain(CITYSCAPES_CLASSES, Confidence(0.0, 1.0)).update(0.0, semantic, score, score > 0, 0.0, settings)


def _saved(path: Path, mask: np.ndarray) -> str:
    cv2.imwrite(str(path), mask)
    return str(path)


def test_what_the_mask_covers_is_no_hazard_at_any_size_of_its_proportions(tmp_path: Path) -> None:
    assert len(_see(None).hazards) == 2
    for size in ((256, 128), (64, 32), (2048, 1024)):
        mask = np.zeros(size[::-1], np.uint8)
        mask[int(0.8 * size[1]) :] = 255
        frame = _see(read_ego_mask(_saved(tmp_path / "mask.png", mask)))
        assert [hazard.region.top for hazard in frame.hazards] == [60]
        assert frame.problems == ()


def test_a_polygon_is_a_mask_of_any_proportions() -> None:
    for text in ("0,0.8,1,0.8,1,1,0,1", " 0, .8, 1.0, .8, 1, 1, 0, 1"):
        frame = _see(read_ego_mask(text))
        assert [hazard.region.top for hazard in frame.hazards] == [60]
        assert frame.problems == ()
        assert Settings(ego_mask=text).hazards.ego_mask is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,0.8,1,0.8", "4 numbers; a polygon has at least 3 corners x, y"),
        ("0,0,0,200,640,200", "a number outside 0..1"),
        ("-0.5,0,1,0,1,1", "a number outside 0..1"),
        ("0,0,0.5,0.5,1,1", "the polygon has no area"),
        ("0,0,1,0,1,1,0,1", "all pixels are set"),
        ("0,0.8,1,x", "0,0.8,1,x"),
    ],
)
def test_what_is_no_polygon_is_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Settings(ego_mask=text).check()
    assert str(caught.value).startswith(f"parameter ego_mask: {text}")


def test_a_mask_of_other_proportions_is_named_and_not_used(tmp_path: Path) -> None:
    path = _saved(tmp_path / "square.png", np.eye(64, dtype=np.uint8))
    frame = _see(read_ego_mask(path))
    assert len(frame.hazards) == 2
    assert frame.problems == (f"ego_mask: {path} is 64x64, the image 256x128: not used",)


def test_files_that_are_no_mask_are_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colours = _saved(tmp_path / "photo.png", rng.integers(0, 255, (8, 8, 3), np.uint8))
    full = _saved(tmp_path / "full.png", np.full((8, 8), 1, np.uint8))
    (tmp_path / "text.png").write_text("no picture")
    for path, message in (
        (str(tmp_path / "nowhere.png"), "nowhere.png"),
        (str(tmp_path / "text.png"), "text.png"),
        (colours, "8-bit grey"),
        (full, "all pixels are set"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            Settings(ego_mask=path).check()
        assert str(caught.value).startswith(f"parameter ego_mask: {path}")
    assert Settings().hazards.ego_mask is None


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
