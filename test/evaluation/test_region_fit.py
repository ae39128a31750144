# SPDX-License-Identifier: Apache-2.0
"""A classifier that is fitted to made regions separates them, and its figures are of frames it has not seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from densehybrid_ros.confidence import Confidence
from densehybrid_ros.datasets.evaluation_set import EvaluationFrame
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.pixel_accumulator import PixelAccumulator
from densehybrid_ros.evaluation.region_fit import FALSE_REGIONS, RegionTable
from densehybrid_ros.hazards import HazardChain, HazardSettings

SHAPE = (128, 256)
CAR = 13


def made_frame(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Obstacles on the road, and cars of a higher score; semantics, score and labels."""
    random = np.random.default_rng(seed)
    semantic, labels = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    score = random.normal(-10.0, 1.0, SHAPE).astype(np.float32)
    for column, is_obstacle in ((40, True), (180, False)):
        top, left = int(random.integers(70, 100)), column + int(random.integers(-20, 20))
        where = slice(top, top + 12), slice(left, left + 16)
        score[where] += np.float32(15.0 + random.normal() if is_obstacle else 18.0 + random.normal())
        if is_obstacle:
            labels[where] = 1
        else:
            semantic[where] = CAR
    labels[:20] = 255
    score[2:12, 20:40] += 40.0  # on ignored pixels: left out
    return semantic, score, labels


def table(frames: int) -> RegionTable:
    made = [made_frame(seed) for seed in range(frames)]
    pixels = PixelAccumulator()
    for _, score, labels in made:
        pixels.update(torch.from_numpy(score), torch.from_numpy(labels), "made")
    found = RegionTable(pixels, CITYSCAPES_CLASSES, 50)
    for index, (semantic, score, labels) in enumerate(made):
        image = np.zeros((*SHAPE, 3), np.uint8)
        found.add(EvaluationFrame(f"{index}", image, labels), labels, score, semantic)
    return found


def test_it_separates_what_the_score_confuses() -> None:
    fit = table(20).fit()
    assert fit.figures["recall"] == 1.0
    assert fit.figures["recall_by_mean_score"] < 0.6
    assert (fit.figures["obstacles"], fit.figures["false_regions_per_frame"]) == (20, FALSE_REGIONS)
    assert fit.figures["bias_of_probability"] < 0.1
    semantic, score, labels = made_frame(99)
    chain = HazardChain(CITYSCAPES_CLASSES, Confidence(0.0, 1.0), fit.classifier)
    settings = HazardSettings(trigger_count=1, trigger_window=1, drivable_classes=("road", "car"))
    (hazard,) = chain.update(0.0, semantic, score, score > fit.threshold, fit.threshold, settings).hazards
    assert labels[hazard.region.top + 2, hazard.region.left + 2] == 1
    assert hazard.probability > 0.8


def test_too_few_frames_are_named() -> None:
    with pytest.raises(InputError, match=r"regions: 3 frames with \d+ regions on obstacles .* give at least 5 frames"):
        table(3).fit()
