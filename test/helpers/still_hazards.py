# SPDX-License-Identifier: Apache-2.0
"""Hazards of a folder's frames, one by one through the node's perception."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from densehybrid_ros.evaluation.froc import judge_regions
from densehybrid_ros.hazards import HazardChain, HazardSettings
from densehybrid_ros.inference import Segmenter
from densehybrid_ros.perception.perception import Frame, Perception
from densehybrid_ros.perception.settings import Settings


def still_hazards(folder: Path, segmenter: Segmenter, threshold: float) -> tuple[int, int, int]:
    """Counts frames whose anomalous pixels are found, false hazards, and hazards on ignored pixels."""
    found, others, card = 0, np.zeros(2, dtype=int), segmenter.card
    chain, settings = HazardChain(card.classes, card.confidence, card.region_classifier), HazardSettings()
    for path in sorted((folder / "image").iterdir()):
        label = cv2.imread(str(folder / "label" / path.name), cv2.IMREAD_UNCHANGED)
        perception = Perception(segmenter, Settings(anomaly_threshold=threshold, trigger_count=1))
        perceived = perception(Frame(cv2.imread(str(path))[:, :, ::-1]))
        masks = perceived.masks
        unknown = masks.open_set == card.num_classes
        detected = chain.detect(masks.semantic, masks.anomaly_score, unknown, threshold, settings)
        assert perceived.hazards is not None
        assert len(perceived.hazards.hazards) == len(detected.regions)
        covered, counts = judge_regions(detected.regions, label)
        others += counts
        found += bool(covered[label == 1].mean() >= 0.1)
    false, ignored = others.tolist()
    return found, false, ignored
