# SPDX-License-Identifier: Apache-2.0
"""What an evaluation found: figures with their names, as a table for people and as JSON and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

from densehybrid_ros.evaluation.binned_curve import BinnedMetrics
from densehybrid_ros.evaluation.components import ComponentMetrics
from densehybrid_ros.evaluation.curves import CurveMetrics, CurvePoints, ScoreHistogram
from densehybrid_ros.evaluation.distances import DEFAULT_EDGES
from densehybrid_ros.evaluation.froc import Froc, froc_rows, hazard_rows
from densehybrid_ros.evaluation.gallery import Gallery
from densehybrid_ros.evaluation.hazard_figures import HazardFigures, hazard_bin_rows, hazard_lines, speed_rows
from densehybrid_ros.evaluation.obstacles import ObstacleFigures
from densehybrid_ros.evaluation.open_set import OpenSetMetrics
from densehybrid_ros.evaluation.operating_points import OperatingPoint, point_rows
from densehybrid_ros.evaluation.protocols import (
    AP,
    AUROC,
    FPR95,
    GAP,
    MEAN_F1,
    MEAN_IOU,
    OPEN_MEAN_IOU,
    PROTOCOLS,
    PUBLISHED_BY_DISTANCE,
    Published,
)
from densehybrid_ros.evaluation.text_tables import format_table
from densehybrid_ros.files import without_nan

F1_STAR, SIOU, PPV, RECALL, PRECISION = "F1*", "sIoU", "PPV", "found", "true"
"""Figures of components; "found" is their recall and "true" their precision at an overlap of 0.25."""
BINNED = ", SMIYC bins"
"""What the name of a score gets where its curve is binned as SegmentMeIfYouCan does it; without it curves are exact."""
COLUMNS = (AP, FPR95, AUROC, SIOU, PPV, F1_STAR, RECALL, PRECISION, MEAN_IOU, MEAN_F1, OPEN_MEAN_IOU, GAP)
"""Every figure of a table in its order; columns without a value are left out."""


@dataclass
class EvaluationResult:
    """The figures of one model on one data set; rates and scores 0..1, nan where undefined.

    Attributes:
        dataset: Name of the data set.
        model: Name of the model.
        frames: Frames measured.
        unlabelled: Frames skipped since they have no labelled pixel.
        left_out: Why frames could not be evaluated.
        frames_left_out: How many those were; None where each reason stands for one.
        seconds: Time that it took.
        device: What ran the network, and where, such as "eager fp32 on CPU".
        size: (height, width) of the network's input; None where images kept theirs.
        pixel: Score -> figures of its curve.
        binned: Score -> figures of its binned curve, where the benchmark bins.
        curves: Score -> sampled curve.
        histograms: Score -> how it is spread over known and unknown pixels; not in the JSON.
        inlier_q95: Score -> threshold that 95 % of the inlier pixels do not exceed.
        components: Score -> component figures.
        judged: The score that ``operating_points`` are of, its components at the first; None: all at their best F1.
        operating_points: Figures at each threshold that was given.
        open_set: Score -> open-set figures.
        edges: Distance bins in metres.
        distances: Score -> figures of each bin.
        without_distance: Labelled pixels that had no distance.
        distance_source: How distances were obtained.
        class_iou: Class -> IoU of the closed set.
        mean_iou: mIoU of the closed set.
        confusion: Pixels of each class, in the order of ``class_iou``, by predicted class; empty without a closed set.
        gallery: The frames with the worst errors, where they were asked for.
        froc: What the hazards of single frames were worth.
        obstacles: Detection by obstacle along a drive, before the hazard stage.
        hazards: What the alerts of a drive were worth.
        remarks: What else is worth telling in the report, one sentence each; not in the JSON.
    """

    dataset: str
    model: str
    frames: int = 0
    unlabelled: int = 0
    left_out: list[str] = field(default_factory=list)
    frames_left_out: int | None = None
    seconds: float = 0.0
    device: str = ""
    size: tuple[int, int] | None = None
    pixel: dict[str, CurveMetrics] = field(default_factory=dict)
    binned: dict[str, BinnedMetrics] = field(default_factory=dict)
    curves: dict[str, CurvePoints] = field(default_factory=dict)
    histograms: dict[str, ScoreHistogram] = field(default_factory=dict)
    inlier_q95: dict[str, float] = field(default_factory=dict)
    components: dict[str, ComponentMetrics] = field(default_factory=dict)
    judged: str | None = None
    operating_points: list[OperatingPoint] = field(default_factory=list)
    open_set: dict[str, OpenSetMetrics] = field(default_factory=dict)
    edges: tuple[float, ...] = ()
    distances: dict[str, list[CurveMetrics]] = field(default_factory=dict)
    without_distance: int = 0
    distance_source: str = ""
    class_iou: dict[str, float] = field(default_factory=dict)
    mean_iou: float = math.nan
    confusion: list[list[int]] = field(default_factory=list)
    gallery: Gallery | None = None
    froc: Froc | None = None
    obstacles: ObstacleFigures | None = None
    hazards: HazardFigures | None = None
    remarks: list[str] = field(default_factory=list)

    @property
    def rows(self) -> list[str]:
        """Names of our rows: the scores, each followed by its binned variant where there is one."""
        return [row for name in self.pixel for row in (name, *([name + BINNED] if name in self.binned else []))]

    def figures(self, score: str) -> dict[str, float]:
        """Returns the figures of one of ``rows`` in percent under the names of ``COLUMNS``."""
        found: dict[str, float] = {}
        binned = self.binned.get(score.removesuffix(BINNED)) if score.endswith(BINNED) else None
        if binned is not None:
            found |= {AP: binned.average_precision, FPR95: binned.fpr95}
        if score in self.pixel:
            pixel = self.pixel[score]
            found |= {AP: pixel.average_precision, FPR95: pixel.fpr95, AUROC: pixel.auroc}
        if score in self.components:
            parts = self.components[score]
            found |= {SIOU: parts.mean_siou, PPV: parts.mean_ppv, F1_STAR: parts.mean_f1}
            found |= {RECALL: parts.recall, PRECISION: parts.precision}
        if score in self.open_set:
            opened = self.open_set[score]
            found |= {
                MEAN_IOU: opened.closed_mean_iou,
                MEAN_F1: opened.mean_f1,
                OPEN_MEAN_IOU: opened.open_mean_iou,
                GAP: opened.gap,
            }
        return {name: 100 * value for name, value in found.items()}

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types for JSON; undefined figures are None."""
        result = asdict(replace(self, curves={}, histograms={}, gallery=None))
        del result["curves"], result["histograms"], result["gallery"], result["remarks"]
        result["thresholds"] = [point.threshold for point in self.operating_points]
        result["size"] = f"{self.size[1]}x{self.size[0]}" if self.size else None
        if self.froc is not None:
            result["froc"] = self.froc.to_dict()
        if self.obstacles is not None:
            result["obstacles"] |= {
                "recall": self.obstacles.recall,
                "false_alarms_per_frame": self.obstacles.false_alarms_per_frame,
            }
        if self.hazards is not None:
            result["hazards"] |= {
                "false_alarms_per_minute": self.hazards.false_alarms_per_minute,
                "false_alarms_per_kilometre": self.hazards.false_alarms_per_kilometre,
                "precision": self.hazards.precision,
                "recall": self.hazards.recall,
                "alerted_frames": self.hazards.alerted_frames,
            }
        return without_nan(result)


Row = tuple[str, dict[str, float], str]
"""A row of the main table: who, figures in percent, where they come from."""


def main_rows(result: EvaluationResult) -> list[Row]:
    """Our rows, one a score (or one for the closed set), then the published ones."""
    rows: list[Row] = [(name, result.figures(name), "measured") for name in result.rows]
    if not rows and not math.isnan(result.mean_iou):
        rows = [(result.model, {MEAN_IOU: 100 * result.mean_iou}, "measured")]
    elif not math.isnan(result.mean_iou) and not result.open_set:
        rows.append((result.model, {MEAN_IOU: 100 * result.mean_iou}, "measured"))
    published: tuple[Published, ...] = PROTOCOLS[result.dataset].published if result.dataset in PROTOCOLS else ()
    return rows + [(row.method, row.figures, row.source) for row in published]


def used_columns(rows: Sequence[Row]) -> list[str]:
    """The columns that at least one row has a value for."""
    return [name for name in COLUMNS if any(name in figures for _, figures, _ in rows)]


def percent(value: float | None) -> str:
    """Writes a figure that is in percent; "-" where it is undefined."""
    return "-" if value is None or math.isnan(value) else f"{value:.2f}"


def format_result(result: EvaluationResult) -> str:
    """Writes the whole result for a terminal."""
    rows = main_rows(result)
    columns = used_columns(rows)
    parts = [
        f"{result.dataset}: {result.model}, {result.frames} frames in {result.seconds:.1f} s on {result.device}",
    ]
    if rows:
        cells = [[who, *(percent(figures.get(name)) for name in columns), origin] for who, figures, origin in rows]
        parts.append(format_table(["score", *columns, "from"], cells))
    if result.operating_points:
        parts.append(format_table(*point_rows(result.operating_points)))
    if result.class_iou:
        classes = [[name, percent(100 * value)] for name, value in result.class_iou.items()]
        parts.append(format_table(["class", "IoU"], classes))
    if result.distances:
        parts.append(format_table(*distance_rows(result)))
    if result.froc is not None:
        parts += [format_table(*rows(result.froc)) for rows in (hazard_rows, froc_rows)]
    if result.obstacles is not None:
        parts += [format_table(*obstacle_rows(result.obstacles)), *obstacle_lines(result.obstacles)]
    if result.hazards is not None:
        if result.hazards.first_alert:
            parts += [format_table(*rows(result.hazards)) for rows in (hazard_bin_rows, speed_rows)]
        parts.append("\n".join(hazard_lines(result.hazards)))
    parts += notes(result)
    return "\n\n".join(parts)


def published_bins(result: EvaluationResult) -> dict[str, tuple[tuple[float, float], ...]]:
    """The paper's (AP, FPR95) in percent of each bin, where ours are the same bins of the same data set."""
    if result.dataset != "lost_and_found" or tuple(result.edges) != DEFAULT_EDGES:
        return {}
    return {f"{method} (paper, table 6)": figures for method, figures in PUBLISHED_BY_DISTANCE.items()}


def distance_rows(result: EvaluationResult) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table by distance: our scores, then the published methods."""
    published = published_bins(result)
    header = ["distance [m]"]
    header += [f"{name} {figure}" for name in result.distances for figure in (AP, FPR95, AUROC)]
    header += [f"{method} {figure}" for method in published for figure in (AP, FPR95)]
    rows = []
    for index, (low, high) in enumerate(pairwise(result.edges)):
        cells = [f"{low:g} to {high:g}"]
        for bins in result.distances.values():
            metrics = bins[index]
            cells += [percent(100 * value) for value in (metrics.average_precision, metrics.fpr95, metrics.auroc)]
        cells += [percent(value) for figures in published.values() for value in figures[index]]
        rows.append(cells)
    return header, rows


def notes(result: EvaluationResult) -> list[str]:
    """What a reader must know beside the figures, one sentence each."""
    found = []
    if result.dataset in PROTOCOLS and PROTOCOLS[result.dataset].note:
        found.append(f"note: {PROTOCOLS[result.dataset].note}")
    if result.components:
        where = "at the threshold of its best pixel F1"
        if result.judged is not None:
            where = f"of {result.judged} at the threshold {result.operating_points[0].threshold:.4f}, of others {where}"
        found.append(
            f"components: {where}; {RECALL}: ground-truth components with sIoU of at least 0.25, "
            f"{PRECISION}: predicted ones with PPV of at least 0.25"
        )
    if result.operating_points:
        found.append(f"thresholds: of {result.judged}")
    if result.froc is not None:
        found += result.froc.notes()
    if result.unlabelled:
        found.append(f"skipped: {result.unlabelled} frames without a labelled pixel")
    if result.left_out:
        number = len(result.left_out) if result.frames_left_out is None else result.frames_left_out
        found.append(f"left out: {number} frames, the first: {result.left_out[0]}")
    if result.distances:
        found.append(f"distances: {result.distance_source}; {result.without_distance} labelled pixels have none")
    for name, metrics in result.pixel.items():
        if not metrics.exact:
            found.append(
                f"{name}: scores were rounded to fit the memory budget; {AP} is within "
                f"{100 * metrics.average_precision_error:.2g}, {FPR95} within {100 * metrics.fpr95_error:.2g} and "
                f"{AUROC} within {100 * metrics.auroc_error:.2g} points"
            )
    return found


def to_csv(result: EvaluationResult) -> str:
    """Writes the main table, published rows included, and the distance bins as CSV (percent, empty = undefined)."""
    rows = main_rows(result)
    columns = used_columns(rows)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["dataset", "score", "distance", *columns, "from"])
    for who, figures, origin in rows:
        writer.writerow([result.dataset, who, "", *(_cell(figures.get(name)) for name in columns), origin])
    for name, bins in result.distances.items():
        for index, metrics in enumerate(bins):
            values = {AP: metrics.average_precision, FPR95: metrics.fpr95, AUROC: metrics.auroc}
            cells = [_cell(100 * values[column]) if column in values else "" for column in columns]
            where = f"{result.edges[index]:g}-{result.edges[index + 1]:g}"
            writer.writerow([result.dataset, name, where, *cells, "measured"])
    return stream.getvalue()


def _cell(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.6f}"


def obstacle_rows(figures: ObstacleFigures) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the recall by distance."""
    header = ["distance [m]", "seen", "detected", "recall"]
    rows = [
        [
            f"{item.low:g} to {item.high:g}",
            str(item.seen),
            str(item.detected),
            percent(100 * item.detected / item.seen if item.seen else None),
        ]
        for item in figures.bins
    ]
    return header, [*rows, ["all", str(figures.seen), str(figures.detected), percent(100 * figures.recall)]]


def obstacle_lines(figures: ObstacleFigures) -> list[str]:
    """Says what the threshold does, and from where on each obstacle stays detected."""
    lines = [
        f"obstacles: at threshold {figures.threshold:.3f}, {percent(100 * figures.recall)} % of the sightings are "
        f"detections; {figures.false_alarms_per_frame:.2f} false alarms a frame"
    ]
    if figures.lasting:
        known = [
            f"#{number} " + ("never" if distance is None else f"from {distance:.1f} m")
            for number, distance in figures.lasting.items()
        ]
        lines.append(f"detected for good: {', '.join(known)}")
    return lines
