# SPDX-License-Identifier: Apache-2.0
"""What a threshold is worth: pixels, and components as SegmentMeIfYouCan (Chan et al. 2021) judges them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from densehybrid_ros.datasets.evaluation_set import ANOMALY, IGNORE
from densehybrid_ros.evaluation.protocols import ComponentSizes

TAUS = np.linspace(0.25, 0.75, 11)
"""Overlaps at which components are counted; F1* is the mean of the F1 of these."""


class ComponentOverlaps(NamedTuple):
    """Adjusted IoU of each ground-truth component of a frame, and predictive value of each predicted one, 0..1."""

    siou: np.ndarray
    ppv: np.ndarray


def label_components(mask: np.ndarray) -> np.ndarray:
    """Numbers the 8-connected components of a mask: int32 [H, W], 0 outside."""
    return cv2.connectedComponents(mask.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)[1]


def component_overlaps(predicted: np.ndarray, labels: np.ndarray, sizes: ComponentSizes) -> ComponentOverlaps:
    """Compares the components of a thresholded score with those of the ground truth.

    Predictions on void are dropped first. Predicted components below their size are dropped, ground-truth components
    below theirs become void.

    Args:
        predicted: bool [H, W], where the score exceeds the threshold.
        labels: uint8 [H, W], 0 inlier, 1 anomaly, 255 void.
        sizes: Pixels that a component needs.
    """
    found = label_components(predicted & (labels != IGNORE))
    found[(np.bincount(found.ravel()) < sizes.predicted)[found]] = 0
    truth = label_components(labels == ANOMALY)
    small = np.bincount(truth.ravel()) < sizes.truth
    small[0] = False
    counted = (labels != IGNORE) & ~small[truth]
    joint = _joint_counts(truth[counted], found[counted])
    found_sizes = joint.sum(axis=0)[1:].astype(float)
    on_truth = joint[1:, 1:].astype(float)
    touched = on_truth > 0
    intersection = on_truth.sum(axis=1)
    # Pixels of the touched predictions that lie on other ground-truth components count for those alone.
    on_others = touched @ on_truth.sum(axis=0) - intersection
    union = touched @ found_sizes + joint.sum(axis=1)[1:] - intersection - on_others
    return ComponentOverlaps(intersection / union, on_truth.sum(axis=0) / found_sizes)


def _joint_counts(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Pixels of each pair: [truth components + 1, found components + 1], ids without pixels left out."""
    truth_ids, truth_index = np.unique(np.append(truth, 0), return_inverse=True)
    found_ids, found_index = np.unique(np.append(found, 0), return_inverse=True)
    # The appended pair makes sure that both backgrounds exist; it is no pixel.
    pairs = truth_index[:-1] * len(found_ids) + found_index[:-1]
    return np.bincount(pairs, minlength=len(truth_ids) * len(found_ids)).reshape(len(truth_ids), len(found_ids))


@dataclass(frozen=True)
class ComponentMetrics:
    """Figures over a data set, 0..1; nan where nothing defines them."""

    mean_siou: float  # of the ground-truth components
    mean_ppv: float  # of the predicted components
    mean_f1: float  # F1*, the mean over ``TAUS`` of F1
    recall: float  # share of the ground-truth components whose sIoU is at least the lowest tau
    precision: float  # share of the predicted components whose PPV is at least the lowest tau
    truth: int  # number of ground-truth components
    predicted: int  # number of predicted components


def f1_star(siou: np.ndarray, ppv: np.ndarray) -> float:
    """Mean over ``TAUS`` of F1 = 2 TP / (2 TP + FN + FP); nan without any component.

    A ground-truth component is found (TP) where its sIoU is at least tau, missed (FN) otherwise; a predicted one is
    false (FP) where its PPV is below tau.
    """
    if not len(siou) and not len(ppv):
        return math.nan
    found = (siou[None] >= TAUS[:, None]).sum(axis=1)
    false = (ppv[None] < TAUS[:, None]).sum(axis=1)
    return float(np.mean(2 * found / np.maximum(found + len(siou) + false, 1)))


@dataclass(frozen=True)
class OperatingPoint:
    """Figures at one threshold; rates are 0..1, nan where nothing defines them."""

    threshold: float  # pixels whose score exceeds it are marked
    frames: int  # frames measured
    precision: float  # share of the marked pixels that are anomalous
    recall: float  # share of the anomalous pixels that are marked
    f1: float  # their harmonic mean
    fpr: float  # share of the inlier pixels that are marked
    components: ComponentMetrics


class ThresholdJudge:
    """Judges the frames of a data set at one threshold; pixels whose score exceeds it are marked."""

    def __init__(self, threshold: float, sizes: ComponentSizes) -> None:
        self.threshold = threshold
        self._sizes = sizes
        self._pixels = np.zeros((2, 2), dtype=np.int64)  # [anomalous, marked]
        self._overlaps: list[ComponentOverlaps] = []

    def update(self, score: np.ndarray, labels: np.ndarray) -> None:
        """Takes in a frame's score, float32 [H, W], and labels, uint8 [H, W], 0 inlier, 1 anomaly, else not judged."""
        marked = score > self.threshold
        judged = labels <= ANOMALY
        self._pixels += np.bincount(2 * labels[judged] + marked[judged], minlength=4).reshape(2, 2)
        self._overlaps.append(component_overlaps(marked, labels, self._sizes))

    def components(self) -> ComponentMetrics:
        """Returns the figures of the components."""
        siou = np.concatenate([np.zeros(0), *(frame.siou for frame in self._overlaps)])
        ppv = np.concatenate([np.zeros(0), *(frame.ppv for frame in self._overlaps)])
        every = siou, ppv, siou >= TAUS[0], ppv >= TAUS[0]
        means = [float(np.mean(values)) if len(values) else math.nan for values in every]
        mean_siou, mean_ppv, recall, precision = means
        return ComponentMetrics(mean_siou, mean_ppv, f1_star(siou, ppv), recall, precision, len(siou), len(ppv))

    def compute(self) -> OperatingPoint:
        """Returns all figures."""
        (quiet, false), (missed, true) = self._pixels.tolist()
        return OperatingPoint(
            threshold=self.threshold,
            frames=len(self._overlaps),
            precision=_share(true, true + false),
            recall=_share(true, true + missed),
            f1=_share(2 * true, 2 * true + false + missed),
            fpr=_share(false, false + quiet),
            components=self.components(),
        )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
