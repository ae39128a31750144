# SPDX-License-Identifier: Apache-2.0
"""Evaluates one model on one data set, in one process or in many."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from densehybrid_ros.datasets.evaluation_set import EvaluationSet
from densehybrid_ros.datasets.taxonomy import SemanticClass
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.dense_scores import HYBRID, LeftOut, ScoredFrame, Scorer, score_frames
from densehybrid_ros.evaluation.froc import FrocAccumulator, StillStage
from densehybrid_ros.evaluation.open_set import mean_over_folds
from densehybrid_ros.evaluation.passes import PixelPass, Plan, ThresholdPass
from densehybrid_ros.evaluation.protocols import PROTOCOLS, Protocol
from densehybrid_ros.evaluation.results import EvaluationResult
from densehybrid_ros.evaluation.shards import Shards
from densehybrid_ros.evaluation.thresholds import candidate_thresholds, check_both_kinds
from densehybrid_ros.inference.backends import device_name
from densehybrid_ros.progress import progress


def evaluate(
    dataset: EvaluationSet,
    name: str,
    scorer: Scorer,
    *,
    limit: int | None = None,
    edges: Sequence[float] = (),
    shards: Shards | None = None,
    pictures: bool = False,
    thresholds: Sequence[float] = (),
    stage: StillStage | None = None,
) -> EvaluationResult:
    """Measures what the data set's protocol asks for.

    Args:
        dataset: The data set.
        name: Its name in ``PROTOCOLS``.
        scorer: What gives the scores; counting runs on its device, too.
        limit: Evenly spread subset of at most this many frames.
        edges: Edges of distance bins in metres; empty for none.
        shards: The processes that share the work; None for this one alone.
        pictures: Gather the frames with the worst errors of the first score.
        thresholds: Of the score that the scorer calls judged: figures at each of them; its components and errors
            are found at the first. Empty: at its best pixel F1.
        stage: The hazard stage that the frames go through with the hybrid score; None for none.

    Returns:
        The figures, the same in every process.

    Raises:
        InputError: No frame could be evaluated, a score is unknown, or hazards are to be judged without anomalies.
    """
    started = time.monotonic()
    shards = shards or Shards()
    protocol = PROTOCOLS.get(name, Protocol())
    if scorer.classes:
        dataset = dataset.for_classes([item.name for item in scorer.classes])
    plan = Plan(scorer.scores, protocol, _common_classes(dataset, scorer.classes), edges)
    judged = scorer.judged if thresholds else None
    chosen = spread(len(dataset), limit)
    indices = [chosen[position] for position in shards.indices(len(chosen))]

    def run(description: str) -> Iterable[ScoredFrame | LeftOut]:
        return progress(score_frames(scorer, dataset, indices), description, total=len(indices))

    first = PixelPass(plan, scorer.device)
    for item in run(f"evaluate {name}"):
        first.add(item)
    first = shards.merged(first)
    first.check_not_empty(len(chosen))
    result = _result_of_pixels(first, name, scorer.name, dataset)
    best, fold_thresholds = _thresholds(first)
    if judged:
        best[judged] = thresholds[0]
    froc = None
    if stage is not None:
        check_both_kinds("--hazards", first.curves[HYBRID])
        froc = FrocAccumulator(stage, candidate_thresholds(first.curves[HYBRID]), edges)
    second = ThresholdPass(plan, best, fold_thresholds, scorer.device, pictures, judged, thresholds, froc)
    if second.is_needed:
        for item in run(f"errors of {name}"):
            second.add(item)
        second = shards.merged(second)
        result.gallery = second.gallery
        result.froc = second.froc.compute() if second.froc is not None else None
        result.components = {score: parts.compute() for score, parts in second.components.items()}
        result.judged = judged
        result.operating_points = [point.compute() for point in second.operating_points]
        result.open_set = {
            score: mean_over_folds([fold.compute() for fold in folds.values()])
            for score, folds in second.open_set.items()
            if folds and all(fold.frames for fold in folds.values())
        }
    result.device = f"{' and '.join(sorted(first.counts.through))} on {device_name(scorer.device)}"
    result.size = scorer.input_size
    result.seconds = time.monotonic() - started
    return result


def score_all(scorer: Scorer, dataset: EvaluationSet, limit: int | None, description: str) -> Iterator[ScoredFrame]:
    """Scores the frames, or ``limit`` of them; unlike an evaluation, what uses this does not go on without a frame.

    Raises:
        InputError: A frame could not be scored.
    """
    indices = spread(len(dataset), limit)
    for item in progress(score_frames(scorer, dataset, indices), description, total=len(indices)):
        if isinstance(item, LeftOut):
            raise InputError(item.reason)
        yield item


def spread(total: int, limit: int | None) -> list[int]:
    """Returns all indices, or ``limit`` of them evenly spread from the first to the last."""
    if limit is None or limit >= total:
        return list(range(total))
    if limit == 1:
        return [0]
    return [round(position * (total - 1) / (limit - 1)) for position in range(limit)]


def _common_classes(dataset: EvaluationSet, classes: tuple[SemanticClass, ...]) -> tuple[SemanticClass, ...]:
    """The classes of the model where the data set labels them, or some of them; else none."""
    same = len(dataset.class_names) == len(classes)
    pairs = zip(dataset.class_names, classes, strict=False)
    return classes if same and all(name in ("", item.name) for name, item in pairs) else ()


def _thresholds(first: PixelPass) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Thresholds of best pixel F1; for each fold those of 95 % TPR on the other."""
    best = {name: curve.compute().threshold_best_f1 for name, curve in first.curves.items()}
    folds = first.plan.protocol.folds
    if folds is None:
        return best, {}
    found = {
        group: {name: curve.compute().threshold_tpr95 for name, curve in curves.items()}
        for group, curves in first.folds.items()
    }
    return best, {folds[0]: found[folds[1]], folds[1]: found[folds[0]]}


def _result_of_pixels(first: PixelPass, name: str, model: str, dataset: EvaluationSet) -> EvaluationResult:
    result = EvaluationResult(name, model, first.counts.measured, first.counts.unlabelled)
    result.left_out = [item.reason for item in first.counts.left_out]
    pooled = {score: curve.compute() for score, curve in first.curves.items()}
    if any(metrics.positives or metrics.negatives for metrics in pooled.values()):
        result.pixel = pooled
        result.curves = {score: curve.curve() for score, curve in first.curves.items()}
        result.histograms = {score: curve.histogram() for score, curve in first.curves.items()}
        result.inlier_q95 = {score: curve.inlier_quantile(0.95) for score, curve in first.curves.items()}
        result.binned = {score: curve.compute() for score, curve in first.binned.items()}
        result.pixel |= {score: means.compute() for score, means in first.image_means.items()}
    if first.distances is not None:
        result.edges = first.distances.edges
        result.distances = first.distances.compute()
        result.without_distance = first.distances.unknown
        measured = any(files.disparity for files in dataset.files)
        result.distance_source = "measured disparity" if measured else "ground plane, from pitch and mounting height"
    if first.confusion is not None and int(first.confusion.counts.sum()):
        named = zip(dataset.class_names, first.confusion.iou().tolist(), strict=True)
        result.class_iou = {name: iou for name, iou in named if name}
        result.mean_iou = float(np.nanmean(list(result.class_iou.values())))
        labelled = [index for index, name in enumerate(dataset.class_names) if name]
        result.confusion = first.confusion.counts.cpu()[labelled][:, labelled].tolist()
    return result
