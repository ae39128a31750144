# SPDX-License-Identifier: Apache-2.0
"""Fitting the classifier of regions on a labelled set, with figures of frames that it was not fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from scipy.optimize import minimize

from densehybrid_ros.confidence import REGION_FEATURES, Confidence, RegionClassifier
from densehybrid_ros.datasets.evaluation_set import ANOMALY, IGNORE, EvaluationFrame
from densehybrid_ros.datasets.taxonomy import SemanticClass
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.calibration import inlier_threshold
from densehybrid_ros.evaluation.pixel_accumulator import PixelAccumulator
from densehybrid_ros.hazards import HazardChain, HazardSettings

FALSE_REGIONS = 0.3
"""A frame: at so many the figures are given."""
_SHARES = (0.02, 0.01, 0.005, 0.0025, 0.001)  # of the inlier pixels above the thresholds that regions are found at
_FLOOR_SHARE = 0.1  # of them above the lowest score that counts in the features
_COVERED = 0.1  # of an obstacle's pixels that its region must cover
_ON_IT = 0.3  # of a region's labelled pixels that must be anomalous; masks reach over the edges of small obstacles
_IGNORED = 0.5  # of a region's pixels that, ignored, leave it out
_FOLDS, _BLOCK = 5, 4  # parts, and neighbouring frames that stay together; every set is in all parts
_FEWEST = 10  # regions of either kind
_PENALTY = 3.0  # of squared weights, against one region's log-loss: few regions must not make large weights
_OBSTACLE, _FALSE, _NEITHER = 1, 0, -1  # what a region is


class RegionFit(NamedTuple):
    """A classifier of all frames, the anomaly threshold in nats that it is best at, and cross-validated figures."""

    classifier: RegionClassifier
    threshold: float
    figures: dict[str, float]


class _Region(NamedTuple):
    """A region of a frame, found at a threshold (its number), and the obstacles that it covers."""

    frame: int
    threshold: int
    features: np.ndarray
    kind: int
    obstacles: list[int]


class RegionTable:
    """Regions of a set's frames at several thresholds, and what they lie on.

    Args:
        pixels: Scores of the set, which the thresholds are taken from.
        classes: Class table of the model.
        min_area: Pixels that a region must have, and an obstacle.

    Raises:
        InputError: There is no inlier pixel.
    """

    def __init__(self, pixels: PixelAccumulator, classes: Sequence[SemanticClass], min_area: int) -> None:
        self._thresholds = [inlier_threshold(pixels, 1 - share) for share in _SHARES]
        self._floor = inlier_threshold(pixels, 1 - _FLOOR_SHARE)
        self._classes, self.min_area = classes, min_area
        self._chain = HazardChain(classes, Confidence(0.0, 1.0))
        self._settings = HazardSettings(min_hazard_area=min_area)
        self._frames = self._obstacles = 0
        self._regions: list[_Region] = []

    def add(self, frame: EvaluationFrame, labels: np.ndarray, score: np.ndarray, semantic: np.ndarray) -> None:
        """Takes in a frame.

        Args:
            frame: The frame.
            labels: uint8 [H, W], 0 inlier, 1 anomaly, 255 ignore.
            score: float32 [H, W] in nats.
            semantic: uint8 [H, W] train ids.
        """
        _, obstacle, statistics, _ = cv2.connectedComponentsWithStats((labels == ANOMALY).view(np.uint8))
        areas = statistics[:, cv2.CC_STAT_AREA].astype(np.float64)
        areas[0] = np.inf
        areas[areas < self.min_area] = np.inf
        self._obstacles += int(np.count_nonzero(areas < np.inf))
        ground = None
        for number, threshold in enumerate(self._thresholds):
            found = self._chain.detect(
                semantic, score, score > threshold, threshold, self._settings, frame.camera, frame.disparity, ground
            )
            ground = found.ground
            features = found.features(score, semantic, self._classes, self._floor)
            for region, row in zip(found.regions, features, strict=True):
                mask = region.mask.view(bool)
                label = region.crop(labels)[mask]
                covered = np.bincount(region.crop(obstacle)[mask], minlength=len(areas)) * region.step**2
                ids = np.flatnonzero(covered >= _COVERED * areas).tolist()
                kind = _kind(label, bool(ids))
                self._regions.append(_Region(self._frames, number, row, kind, ids))
        self._frames += 1

    def fit(self) -> RegionFit:
        """Fits the classifier, and chooses the threshold.

        Raises:
            InputError: There are too few regions of one kind, or too few frames.
        """
        features = np.array([item.features for item in self._regions]).reshape(-1, len(REGION_FEATURES))
        kinds = np.array([item.kind for item in self._regions], np.int64)
        counts = [int(np.count_nonzero(kinds == kind)) for kind in (_FALSE, _OBSTACLE)]
        if min(counts) < _FEWEST or self._frames < _FOLDS:
            raise InputError(
                f"regions: {self._frames} frames with {counts[1]} regions on obstacles and {counts[0]} false ones are "
                f"too few; give at least {_FOLDS} frames and {_FEWEST} regions of either kind"
            )
        block = min(_BLOCK, self._frames // _FOLDS)
        fold = np.array([item.frame for item in self._regions]) // block % _FOLDS
        known, judged = kinds != _NEITHER, np.zeros(len(kinds))
        for number in range(_FOLDS):
            others = (fold != number) & known
            judged[fold == number] = _fitted(features[others], kinds[others], self._floor).probability(
                features[fold == number]
            )
        classifier = _fitted(features[known], kinds[known], self._floor)
        means = features[:, list(REGION_FEATURES).index("mean")]
        level = np.array([item.threshold for item in self._regions])
        at_each = [self._recall(judged, level == number) for number in range(len(self._thresholds))]
        chosen = max(range(len(at_each)), key=lambda number: at_each[number][0])
        by_mean = max(self._recall(means, level == number)[0] for number in range(len(self._thresholds)))
        calibration = np.abs(judged[known].mean() - (kinds[known] == _OBSTACLE).mean())
        figures = {
            "obstacles": self._obstacles,
            "obstacle_regions": counts[1],
            "false_regions": counts[0],
            "recall": round(at_each[chosen][0], 4),
            "recall_by_mean_score": round(by_mean, 4),
            "false_regions_per_frame": FALSE_REGIONS,
            "probability": round(at_each[chosen][1], 4),
            "bias_of_probability": round(float(calibration), 4),
        }
        return RegionFit(classifier, self._thresholds[chosen], figures)

    def _recall(self, values: np.ndarray, held: np.ndarray) -> tuple[float, float]:
        """Share of the obstacles found at ``FALSE_REGIONS`` a frame, and the lowest value of a region there."""
        found: set[tuple[int, int]] = set()
        wrong, best, least = 0, 0.0, 1.0
        for index in np.flatnonzero(held)[np.argsort(-values[held], kind="stable")].tolist():
            item = self._regions[index]
            wrong += item.kind == _FALSE
            if wrong > FALSE_REGIONS * self._frames:
                break
            found |= {(item.frame, number) for number in item.obstacles if item.kind == _OBSTACLE}
            best, least = len(found) / max(self._obstacles, 1), float(values[index])
        return best, least


def _kind(labels: np.ndarray, covers: bool) -> int:
    ignored, anomalous = (np.count_nonzero(labels == value) for value in (IGNORE, ANOMALY))
    if covers and anomalous >= _ON_IT * (len(labels) - ignored):
        return _OBSTACLE
    return _NEITHER if ignored > _IGNORED * len(labels) else _FALSE


def _fitted(features: np.ndarray, kinds: np.ndarray, floor: float) -> RegionClassifier:
    """Fits a logistic model by maximum likelihood with a penalty of squared weights."""
    means, scales = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-3)
    x = np.column_stack([(features - means) / scales, np.ones(len(features))])
    penalty = np.append(np.full(features.shape[1], _PENALTY), 0.0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        odds = x @ weights
        value = np.sum(np.logaddexp(0.0, odds) - kinds * odds) + 0.5 * np.sum(penalty * weights**2)
        return float(value), x.T @ (Confidence(0.0, 1.0).probability(odds) - kinds) + penalty * weights

    weights = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x
    numbers = np.column_stack([means, scales, weights[:-1]]).round(6).tolist()
    rows = {name: (row[0], row[1], row[2]) for name, row in zip(REGION_FEATURES, numbers, strict=True)}
    return RegionClassifier(round(floor, 4), round(float(weights[-1]), 6), rows)
