# SPDX-License-Identifier: Apache-2.0
"""Crops around rare classes."""

from __future__ import annotations

import numpy as np

from densehybrid_ros.training.crops import CropConfig, draw_crop
from densehybrid_ros.training.rare_classes import RareClasses


def test_a_rare_class_is_drawn_more_often_than_its_pixels() -> None:
    labels = np.zeros((10, 40, 50), np.uint8)
    labels[3, 5:10, 20:24] = 7  # 20 of 20,000 pixels
    labels[4:, :3] = 255
    rare, rng = RareClasses(labels), np.random.default_rng(0)
    drawn = [rare.draw(rng) for _ in range(200)]
    hits = [place for place in drawn if labels[place] == 7]
    assert len(hits) > 100
    assert all(labels[place] != 255 for place in drawn)


def test_frames_without_labels_are_drawn_all_the_same() -> None:
    index, row, column = RareClasses(np.full((3, 4, 5), 255, np.uint8)).draw(np.random.default_rng(0))
    assert (0 <= index < 3, row, column) == (True, 0, 0)


def test_a_crop_shows_its_focus() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        focus = (int(rng.integers(80)), int(rng.integers(120)))
        crop = draw_crop((80, 120), CropConfig(height=32, width=32, scale=(0.3, 3.0)), rng, focus)
        assert crop.rows.start <= focus[0] < crop.rows.stop
        assert crop.columns.start <= focus[1] < crop.columns.stop
