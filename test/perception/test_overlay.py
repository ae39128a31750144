# SPDX-License-Identifier: Apache-2.0
"""The picture for people."""

from __future__ import annotations

import numpy as np
import pytest
import some_hazards

from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, UNKNOWN_CLASS
from densehybrid_ros.hazards.picture import draw_caption, draw_marks, hazard_marks
from densehybrid_ros.inference.results import FrameResult
from densehybrid_ros.perception.overlay import (
    SCORE_OFFSET,
    SCORE_SCALE,
    alert_marks,
    compose_overlay,
    frame_overlay,
    moment_text,
    score_steps,
)
from densehybrid_ros.perception.perception import Frame, Perceived


def scene() -> tuple[np.ndarray, np.ndarray]:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    open_set = np.zeros((40, 60), dtype=np.uint8)
    open_set[:, 30:] = 13  # car
    return image, open_set


@pytest.mark.parametrize("opacity", [0.0, 0.5, 1.0])
def test_colours_are_blended_by_opacity(opacity: float) -> None:
    image, open_set = scene()
    overlay = compose_overlay(image, open_set, CITYSCAPES_CLASSES, opacity)
    colors = np.array([item.color for item in CITYSCAPES_CLASSES])[open_set]
    np.testing.assert_allclose(overlay, (1 - opacity) * image + opacity * colors, atol=0.51)
    assert overlay.flags.c_contiguous
    assert overlay.dtype == np.uint8


def test_unknown_regions_stand_out_even_without_class_colours() -> None:
    image, open_set = scene()
    open_set[10:20, 20:40] = len(CITYSCAPES_CLASSES)
    overlay = compose_overlay(image, open_set, CITYSCAPES_CLASSES, 0.0)
    inner = np.s_[13:17, 23:37]
    np.testing.assert_allclose(overlay[inner], 0.4 * image[inner] + 0.6 * np.array(UNKNOWN_CLASS.color), atol=0.51)
    np.testing.assert_array_equal(overlay[10, 20:40], np.broadcast_to(UNKNOWN_CLASS.color, (20, 3)))
    np.testing.assert_array_equal(overlay[25:], image[25:])


def test_strides_of_the_image_do_not_matter() -> None:
    image, open_set = scene()
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    wide = np.zeros((40, 80, 4), np.uint8)
    wide[:, :60, :3] = image
    expected = compose_overlay(image, open_set, CITYSCAPES_CLASSES, 0.5)
    for view in (bgr[:, :, ::-1], wide[:, :60, :3]):
        np.testing.assert_array_equal(compose_overlay(view, open_set, CITYSCAPES_CLASSES, 0.5), expected)


def perceived(hazards: bool = True) -> Perceived:
    image = np.full((320, 640, 3), 90, np.uint8)
    ids = np.zeros((320, 640), np.uint8)
    masks = FrameResult(ids, np.zeros(ids.shape, np.float32), ids, ids)
    frame = some_hazards.FRAME if hazards else None
    return Perceived(Frame(image, 3.4), masks, CITYSCAPES_CLASSES, -3.0, frame, (), 0.0, 0.0)


def test_the_overlay_has_classes_hazards_time_and_alert() -> None:
    """Exactly what the parts draw, one upon the other."""
    given, marks = perceived(), hazard_marks(some_hazards.FRAME)
    assert alert_marks(given.alert) == [mark for mark in marks if mark.level is not None]
    assert moment_text(1_700_000_000.257) == "22:13:20.25"
    expected = compose_overlay(given.frame.image, given.masks.open_set, CITYSCAPES_CLASSES, 0.5)
    draw_marks(expected, marks)
    draw_caption(expected, "3.40 s", given.alert.level, given.alert.summary.message)
    np.testing.assert_array_equal(frame_overlay(given, 0.5), expected)
    named = frame_overlay(given, 0.5, "street")
    assert (named[:20] != expected[:20]).any()
    np.testing.assert_array_equal(named[60:], expected[60:])


def test_an_overlay_without_the_hazard_stage_says_so_in_its_caption() -> None:
    given = perceived(hazards=False)
    assert given.alert.level.name == "STALE"
    overlay = frame_overlay(given, 0.0)
    assert (overlay[60:] == 90).all()
    assert (overlay[:10] != 90).any()


def test_a_score_in_16_bits_is_rounded_and_ends_at_its_range() -> None:
    score = np.array([[-200.0, -128.0, -3.0, 0.001, 0.003, 127.99, 127.997, 300.0, np.nan]], np.float32)
    steps = score_steps(score)
    assert steps.dtype == np.uint16
    assert steps.tolist() == [[0, 0, 32000, 32768, 32769, 65533, 65535, 65535, 0]]
    np.testing.assert_allclose(steps[0, 2:6] * SCORE_SCALE + SCORE_OFFSET, score[0, 2:6], atol=SCORE_SCALE / 2)
