# SPDX-License-Identifier: Apache-2.0
"""Component metrics of SegmentMeIfYouCan (Chan et al. 2021): sIoU, PPV and F1* of detected anomalous regions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

ANOMALY, IGNORE = 1, 255
TAUS = np.linspace(0.25, 0.75, 11)
"""Overlaps at which components are counted; F1* is the mean of the F1 of these."""


class ComponentOverlaps(NamedTuple):
    """How components of one frame overlap.

    Attributes:
        siou: Adjusted intersection over union of each ground-truth component, 0..1.
        ppv: Positive predictive value of each predicted component, 0..1.
    """

    siou: np.ndarray
    ppv: np.ndarray


def label_components(mask: np.ndarray) -> np.ndarray:
    """Numbers the 8-connected components of a mask: int32 [H, W], 0 outside."""
    return cv2.connectedComponents(mask.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)[1]


def component_overlaps(
    predicted: np.ndarray, labels: np.ndarray, smallest_predicted: int, smallest_truth: int
) -> ComponentOverlaps:
    """Compares the components of a thresholded score with those of the ground truth.

    Predictions on void are dropped first. Predicted components below their size are dropped, ground-truth components
    below theirs become void.

    Args:
        predicted: bool [H, W], where the score exceeds the threshold.
        labels: uint8 [H, W], 0 inlier, 1 anomaly, 255 void.
        smallest_predicted: Pixels that a predicted component needs.
        smallest_truth: Pixels that a ground-truth component needs.
    """
    found = _without_small(label_components(predicted & (labels != IGNORE)), smallest_predicted)
    truth = label_components(labels == ANOMALY)
    small = _sizes(truth) < smallest_truth
    small[0] = False
    counted = (labels != IGNORE) & ~small[truth]
    return _overlaps(_joint_counts(truth[counted], found[counted]))


def _sizes(components: np.ndarray) -> np.ndarray:
    return np.bincount(components.ravel(), minlength=1)


def _without_small(components: np.ndarray, smallest: int) -> np.ndarray:
    small = _sizes(components) < smallest
    components[small[components]] = 0
    return components


def _joint_counts(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Pixels of each pair: [truth components + 1, found components + 1], ids without pixels left out."""
    truth_ids, truth_index = np.unique(np.append(truth, 0), return_inverse=True)
    found_ids, found_index = np.unique(np.append(found, 0), return_inverse=True)
    # The appended pair makes sure that both backgrounds exist; it is no pixel.
    pairs = truth_index[:-1] * len(found_ids) + found_index[:-1]
    return np.bincount(pairs, minlength=len(truth_ids) * len(found_ids)).reshape(len(truth_ids), len(found_ids))


def _overlaps(joint: np.ndarray) -> ComponentOverlaps:
    found_sizes = joint.sum(axis=0)[1:].astype(float)
    on_truth = joint[1:, 1:].astype(float)
    touched = on_truth > 0
    intersection = on_truth.sum(axis=1)
    union_of_found = touched @ found_sizes
    # Pixels of the touched predictions that lie on other ground-truth components count for those alone.
    on_others = touched @ on_truth.sum(axis=0) - intersection
    union = union_of_found + joint.sum(axis=1)[1:] - intersection - on_others
    return ComponentOverlaps(intersection / union, on_truth.sum(axis=0) / found_sizes)


@dataclass(frozen=True)
class ComponentMetrics:
    """Figures over a data set; nan where nothing defines them.

    Attributes:
        mean_siou: Mean sIoU of the ground-truth components, 0..1.
        mean_ppv: Mean PPV of the predicted components, 0..1; nan where nothing was predicted.
        mean_f1: F1*, the mean over ``TAUS`` of F1, 0..1.
        recall: Share of the ground-truth components whose sIoU is at least the lowest tau, 0..1.
        precision: Share of the predicted components whose PPV is at least the lowest tau, 0..1.
        truth: Number of ground-truth components.
        predicted: Number of predicted components.
    """

    mean_siou: float
    mean_ppv: float
    mean_f1: float
    recall: float
    precision: float
    truth: int
    predicted: int


class ComponentAccumulator:
    """Gathers the components of a data set.

    Args:
        smallest_predicted: Pixels that a predicted component needs.
        smallest_truth: Pixels that a ground-truth component needs.
    """

    def __init__(self, smallest_predicted: int, smallest_truth: int) -> None:
        self._smallest = (smallest_predicted, smallest_truth)
        self._siou: list[np.ndarray] = []
        self._ppv: list[np.ndarray] = []

    def update(self, predicted: np.ndarray, labels: np.ndarray) -> ComponentOverlaps:
        """Takes in a frame (arguments as of ``component_overlaps``) and returns its overlaps."""
        overlaps = component_overlaps(predicted, labels, *self._smallest)
        self._siou.append(overlaps.siou)
        self._ppv.append(overlaps.ppv)
        return overlaps

    def merge(self, other: ComponentAccumulator) -> None:
        """Adds the components of another shard."""
        self._siou += other._siou
        self._ppv += other._ppv

    def compute(self) -> ComponentMetrics:
        """Returns the figures over all frames so far."""
        # Sorted, so that the order of the frames, and with it the sharding, changes no digit.
        siou = np.sort(np.concatenate([*self._siou, np.zeros(0)]))
        ppv = np.sort(np.concatenate([*self._ppv, np.zeros(0)]))
        return ComponentMetrics(
            mean_siou=float(siou.mean()) if len(siou) else math.nan,
            mean_ppv=float(ppv.mean()) if len(ppv) else math.nan,
            mean_f1=f1_star(siou, ppv),
            recall=float(np.mean(siou >= TAUS[0])) if len(siou) else math.nan,
            precision=float(np.mean(ppv >= TAUS[0])) if len(ppv) else math.nan,
            truth=len(siou),
            predicted=len(ppv),
        )


def f1_star(siou: np.ndarray, ppv: np.ndarray) -> float:
    """Mean over ``TAUS`` of F1 = 2 TP / (2 TP + FN + FP).

    A ground-truth component is found (TP) where its sIoU is at least tau, missed (FN) otherwise; a predicted one is
    false (FP) where its PPV is below tau.

    Returns:
        nan where there is neither a ground-truth nor a predicted component.
    """
    if not len(siou) and not len(ppv):
        return math.nan
    found = (siou[None] >= TAUS[:, None]).sum(axis=1)
    missed = len(siou) - found
    false = (ppv[None] < TAUS[:, None]).sum(axis=1)
    total = 2 * found + missed + false
    return float(np.mean(2 * found / np.maximum(total, 1)))
