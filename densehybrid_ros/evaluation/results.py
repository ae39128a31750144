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

from densehybrid_ros.evaluation.components import ComponentMetrics, OperatingPoint
from densehybrid_ros.evaluation.curves import CurveMetrics, CurvePoints, ScoreHistogram
from densehybrid_ros.evaluation.distances import DEFAULT_EDGES
from densehybrid_ros.evaluation.froc import Froc, FrocPoint
from densehybrid_ros.evaluation.gallery import Gallery
from densehybrid_ros.evaluation.hazard_figures import HazardFigures, hazard_bin_rows, hazard_lines, speed_rows
from densehybrid_ros.evaluation.obstacles import ObstacleFigures
from densehybrid_ros.evaluation.open_set import OpenSetMetrics
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
    Protocol,
    Row,
    published_rows,
)
from densehybrid_ros.evaluation.text_tables import format_table
from densehybrid_ros.files import without_nan

_FIGURES = {
    "pixel": {AP: "average_precision", FPR95: "fpr95", AUROC: "auroc"},
    "components": {"sIoU": "mean_siou", "PPV": "mean_ppv", "F1*": "mean_f1", "found": "recall", "true": "precision"},
    "open_set": {MEAN_IOU: "closed_mean_iou", MEAN_F1: "mean_f1", OPEN_MEAN_IOU: "open_mean_iou", GAP: "gap"},
}
"""Part of the result -> column of a table -> attribute; "found" and "true" are at an overlap of 0.25."""
Rows = tuple[list[str], list[list[str]]]
"""Header and rows of a table."""


@dataclass
class EvaluationResult:
    """The figures of one model on one data set by score; rates and scores 0..1, nan where undefined.

    Attributes:
        frames: Frames measured.
        unlabelled: Frames skipped since they have no labelled pixel.
        left_out: Why frames could not be evaluated.
        frames_left_out: How many those were; None where each reason stands for one.
        device: What ran the network, and where, such as "eager fp32 on CPU".
        size: (height, width) of the network's input; None where images kept theirs.
        inlier_q95: Thresholds that 95 % of the inlier pixels do not exceed.
        judged: The score that ``operating_points`` are of, its components at the first; None: all at their best F1.
        operating_points: Figures at each threshold that was given.
        edges: Distance bins in metres; ``distances`` has the figures of each.
        without_distance: Labelled pixels that had no distance.
        distance_source: How distances were obtained.
        class_iou: Class -> IoU of the closed set.
        confusion: Pixels of each class, in the order of ``class_iou``, by predicted class; empty without a closed set.
        gallery: The frames with the worst errors, where they were asked for.
        froc: What the hazards of single frames were worth.
        obstacles: Detection by obstacle along a drive, before the hazard stage.
        hazards: What the alerts of a drive were worth.
        remarks: What else is worth telling in the report, one sentence each; not in the JSON, as plots are not.
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

    def figures(self, score: str) -> dict[str, float]:
        """Returns the figures of a score in percent under the names of a table's columns."""
        return {
            column: 100 * getattr(getattr(self, part)[score], attribute)
            for part, columns in _FIGURES.items()
            if score in getattr(self, part)
            for column, attribute in columns.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types for JSON; undefined figures are None."""
        result = asdict(replace(self, curves={}, histograms={}, gallery=None))
        del result["curves"], result["histograms"], result["gallery"], result["remarks"]
        result["thresholds"] = [point.threshold for point in self.operating_points]
        result["size"] = f"{self.size[1]}x{self.size[0]}" if self.size else None
        if self.froc is not None:
            result["froc"]["at"] = self.froc.at()
        if self.obstacles is not None:
            result["obstacles"] |= {
                name: getattr(self.obstacles, name) for name in ("recall", "false_alarms_per_frame")
            }
        if self.hazards is not None:
            rates = ("false_alarms_per_minute", "false_alarms_per_kilometre", "precision", "recall", "alerted_frames")
            result["hazards"] |= {name: getattr(self.hazards, name) for name in rates}
        return without_nan(result)


def main_rows(result: EvaluationResult) -> list[Row]:
    """Our rows, one a score, and one for the closed set where no score has its mIoU; then the published ones."""
    rows: list[Row] = [(name, result.figures(name), "measured") for name in result.pixel]
    if not math.isnan(result.mean_iou) and not result.open_set:
        rows.append((result.model, {MEAN_IOU: 100 * result.mean_iou}, "measured"))
    return rows + published_rows(result.dataset)


def used_columns(rows: Sequence[Row]) -> list[str]:
    """The columns that at least one row has a value for, in their order."""
    every = [column for columns in _FIGURES.values() for column in columns]
    return [name for name in every if any(name in figures for _, figures, _ in rows)]


def percent(value: float | None) -> str:
    """Writes a figure that is in percent; "-" where it is undefined."""
    return "-" if value is None or math.isnan(value) else f"{value:.2f}"


def main_table(result: EvaluationResult) -> Rows:
    """Header and rows of the main table; without rows, nothing was measured and nothing published."""
    rows = main_rows(result)
    columns = used_columns(rows)
    cells = [[who, *(percent(figures.get(name)) for name in columns), origin] for who, figures, origin in rows]
    return ["score", *columns, "from"], cells


def format_result(result: EvaluationResult) -> str:
    """Writes the whole result for a terminal."""
    tables = [main_table(result), point_rows(result.operating_points), class_rows(result)]
    if result.distances:
        tables.append(distance_rows(result))
    if result.froc is not None:
        tables += [hazard_rows(result.froc), froc_rows(result.froc)]
    parts = [
        f"{result.dataset}: {result.model}, {result.frames} frames in {result.seconds:.1f} s on {result.device}",
        *(format_table(header, rows) for header, rows in tables if rows),
    ]
    if result.obstacles is not None:
        parts += [format_table(*obstacle_rows(result.obstacles)), *obstacle_lines(result.obstacles)]
    if result.hazards is not None:
        if result.hazards.first_alert:
            parts += [format_table(*rows(result.hazards)) for rows in (hazard_bin_rows, speed_rows)]
        parts.append("\n".join(hazard_lines(result.hazards)))
    parts += notes(result)
    return "\n\n".join(parts)


def point_rows(points: Sequence[OperatingPoint]) -> Rows:
    """Header and rows of the table by threshold, rates in percent."""
    rows = []
    for point in points:
        parts = point.components
        rates = (point.precision, point.recall, point.f1, point.fpr, parts.mean_siou, parts.mean_ppv, parts.mean_f1)
        rows.append([f"{point.threshold:.3f}", *(percent(100 * rate) for rate in rates)])
    return ["threshold", "precision", "recall", "F1", "FPR", "sIoU", "PPV", "F1*"], rows


def class_rows(result: EvaluationResult) -> Rows:
    """Header and rows of the closed set."""
    return ["class", "IoU"], [[name, percent(100 * value)] for name, value in result.class_iou.items()]


def hazard_rows(froc: Froc) -> Rows:
    """Header and rows of the recall by group, in percent, at the points of ``Froc.columns``."""
    names = ["threshold [nats]", "false a frame", "on ignored a frame", "all", *froc.groups]
    numbers = ["", "", "", str(froc.obstacles), *map(str, froc.groups.values())]

    def cells(point: FrocPoint | None) -> list[str]:
        if point is None:
            return ["-"] * len(names)
        rates = [f"{count / froc.frames:.3f}" for count in (point.false_hazards, point.on_ignored)]
        shares = map(_share, (point.all_found, *point.found), (froc.obstacles, *froc.groups.values()))
        return [f"{point.threshold:.2f}", *rates, *shares]

    columns = froc.columns()
    rows = [list(row) for row in zip(names, numbers, *map(cells, columns.values()), strict=True)]
    return ["hazards found [%]", "obstacles", *columns], rows


def froc_rows(froc: Froc) -> Rows:
    """Header and rows of the FROC curve: its steps."""
    rows = [
        [f"{false:.3f}", _share(point.all_found, froc.obstacles), f"{point.threshold:.2f}"]
        for false, point in froc.steps()
    ]
    return ["false hazards a frame, at most", "found [%]", "threshold [nats]"], rows


def _share(found: int, number: int) -> str:
    return f"{100 * found / number:.1f}" if number else "-"


def published_bins(result: EvaluationResult) -> dict[str, list[tuple[float, float]]]:
    """The paper's (AP, FPR95) in percent of each bin, where ours are the same bins of the same data set."""
    if result.dataset != "lost_and_found" or tuple(result.edges) != DEFAULT_EDGES:
        return {}
    return {f"{method} (paper, table 6)": figures for method, figures in PUBLISHED_BY_DISTANCE.items()}


def distance_rows(result: EvaluationResult) -> Rows:
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
    note = PROTOCOLS.get(result.dataset, Protocol()).note
    found = [f"note: {note}"] if note else []
    if result.components:
        where = "at the threshold of its best pixel F1"
        if result.judged is not None:
            where = f"of {result.judged} at the threshold {result.operating_points[0].threshold:.4f}, of others {where}"
        found.append(
            f"components: {where}; found: ground-truth components with sIoU of at least 0.25, "
            "true: predicted ones with PPV of at least 0.25"
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
    return found


def to_csv(result: EvaluationResult) -> str:
    """Writes the main table, published rows included, and the distance bins as CSV (percent, empty = undefined)."""
    rows = main_rows(result)
    columns = used_columns(rows)
    places = {name: _FIGURES["pixel"].get(name) for name in columns}
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["dataset", "score", "distance", *columns, "from"])
    for who, figures, origin in rows:
        writer.writerow([result.dataset, who, "", *(_cell(figures.get(name)) for name in columns), origin])
    for name, bins in result.distances.items():
        for index, metrics in enumerate(bins):
            cells = [_cell(100 * getattr(metrics, place)) if place else "" for place in places.values()]
            where = f"{result.edges[index]:g}-{result.edges[index + 1]:g}"
            writer.writerow([result.dataset, name, where, *cells, "measured"])
    return stream.getvalue()


def _cell(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.6f}"


def obstacle_rows(figures: ObstacleFigures) -> Rows:
    """Header and rows of the recall by distance."""
    counts = {f"{item.low:g} to {item.high:g}": (item.seen, item.detected) for item in figures.bins}
    counts["all"] = figures.seen, figures.detected
    rows = [
        [name, str(seen), str(detected), percent(100 * detected / seen if seen else None)]
        for name, (seen, detected) in counts.items()
    ]
    return ["distance [m]", "seen", "detected", "recall"], rows


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
