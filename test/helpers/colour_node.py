# SPDX-License-Identifier: Apache-2.0
"""The perception node with a stand-in for the network: what a pixel is, its colour says. ``python -m colour_node``.

All else is the real node. It starts without PyTorch and answers a small frame in milliseconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np

from densehybrid_ros.confidence import Confidence
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.nodes.perception_node import PerceptionNode
from densehybrid_ros.nodes.runner import run
from densehybrid_ros.perception.settings import Settings

ROAD = (128, 64, 128)
SKY = (70, 130, 180)
UNKNOWN = (255, 0, 0)
CONFIDENCE = Confidence(midpoint=0.0, scale=2.0)
HIGH, LOW = 4.0, -4.0
"""Scores of unknown and of all other pixels."""
NOT_LIKED, NOT_CONFIDENT = 7, 8
"""Rows of frames on which the network fails, and of which no image of the confidence can be made."""


class ColourSegmenter:
    """Red is unknown, the colour of Cityscapes' road is road, all else is sky."""

    def __init__(self) -> None:
        self.card = SimpleNamespace(
            input_size=(1024, 2048),
            name="colours",
            classes=CITYSCAPES_CLASSES,
            num_classes=len(CITYSCAPES_CLASSES),
            confidence=CONFIDENCE,
            thresholds={"middle": 0.0},
            threshold=lambda name: 0.0,
            region_classifier=None,
        )

    reason = "it is a stand-in"
    threshold = None
    overlaps = True

    def describe(self) -> str:
        return "colours"

    def submit(self, image: np.ndarray, threshold: float, camera: int) -> Callable[[], Any]:
        return partial(self.segment, image, threshold)

    def segment(self, image: np.ndarray, threshold: float) -> Any:
        if image.shape[0] == NOT_LIKED:
            raise RuntimeError("a frame that no model likes")
        unknown = np.all(image == UNKNOWN, axis=2)
        semantic = np.where(np.all(image == ROAD, axis=2), np.uint8(0), np.uint8(10))
        score = np.where(unknown, np.float32(HIGH), np.float32(LOW))
        open_set = np.where(score > threshold, np.uint8(len(CITYSCAPES_CLASSES)), semantic)
        confidence = np.rint(255 * CONFIDENCE.probability(score)).astype(np.uint8)
        if image.shape[0] == NOT_CONFIDENT:
            confidence = None
        return SimpleNamespace(semantic=semantic, anomaly_score=score, open_set=open_set, confidence=confidence)


class ColourNode(PerceptionNode):
    """Loads that in the place of a model; where ``model`` is a path, loading lasts until it exists."""

    def _load(self, settings: Settings) -> Any:
        while (model := Path(settings.model)).is_absolute() and not model.exists():
            time.sleep(0.05)
        segmenter: Any = ColourSegmenter()
        self._server.take_card(segmenter.card)
        return segmenter


def draw(height: int, width: int, horizon: int, *boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Draws road below the row ``horizon``, and unknown boxes (left, top, width, height), as uint8 RGB."""
    image = np.empty((height, width, 3), np.uint8)
    image[:horizon], image[horizon:] = SKY, ROAD
    for left, top, columns, rows in boxes:
        cv2.rectangle(image, (left, top, columns, rows), UNKNOWN, thickness=-1)
    return image


if __name__ == "__main__":
    sys.exit(run(ColourNode))
