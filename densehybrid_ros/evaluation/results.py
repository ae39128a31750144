# SPDX-License-Identifier: Apache-2.0
"""What an evaluation found: figures with their names, as blocks of tables for people and as JSON and CSV."""

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
from densehybrid_ros.evaluation.hazard_figures import HazardFigures
from densehybrid_ros.evaluation.obstacles import ObstacleFigures
from densehybrid_ros.evaluation.open_set import OpenSetMetrics
from densehybrid_ros.evaluation.protocols import (
    MEAN_IOU,
    OPEN_SET,
    PUBLISHED_BY_DISTANCE,
    Row,
    protocol_of,
    published_rows,
)
from densehybrid_ros.evaluation.text_tables import Table, format_table
from densehybrid_ros.files import without_nan

_PIXEL = dict(zip(OPEN_SET[:3], ("average_precision", "fpr95", "auroc"), strict=True))
_FIGURES = {
    "pixel": _PIXEL,
    "components": {"sIoU": "mean_siou", "PPV": "mean_ppv", "F1*": "mean_f1", "found": "recall", "true": "precision"},
    "open_set": dict(zip(OPEN_SET[3:], ("closed_mean_iou", "mean_f1", "open_mean_iou", "gap"), strict=True)),
}
"""Part of the result -> column of a table -> attribute; "found" and "true" are at an overlap of 0.25."""


@dataclass
class EvaluationResult:
    """The figures of one model on one data set by score; rates and scores 0..1, nan where undefined."""

    dataset: str
    model: str
    frames: int = 0  # frames measured
    unlabelled: int = 0  # frames skipped since they have no labelled pixel
    left_out: list[str] = field(default_factory=list)  # why frames could not be evaluated
    frames_left_out: int | None = None  # how many those were; None where each reason stands for one
    seconds: float = 0.0
    device: str = ""  # what ran the network, and where, such as "eager fp32 on CPU"
    size: tuple[int, int] | None = None  # (height, width) of the network's input; None where images kept theirs
    pixel: dict[str, CurveMetrics] = field(default_factory=dict)
    curves: dict[str, CurvePoints] = field(default_factory=dict)
    histograms: dict[str, ScoreHistogram] = field(default_factory=dict)
    inlier_q95: dict[str, float] = field(default_factory=dict)  # what 95 % of the inlier pixels do not exceed
    components: dict[str, ComponentMetrics] = field(default_factory=dict)
    judged: str | None = None  # the score of operating_points, its components at the first; None: all at their best F1
    operating_points: list[OperatingPoint] = field(default_factory=list)  # figures at each threshold that was given
    open_set: dict[str, OpenSetMetrics] = field(default_factory=dict)
    edges: tuple[float, ...] = ()  # distance bins in metres
    distances: dict[str, list[CurveMetrics]] = field(default_factory=dict)  # figures of each bin
    without_distance: int = 0  # labelled pixels that had no distance
    distance_source: str = ""  # how distances were obtained
    class_iou: dict[str, float] = field(default_factory=dict)  # class -> IoU of the closed set
    mean_iou: float = math.nan
    confusion: list[list[int]] = field(default_factory=list)  # pixels of each of these classes by predicted class
    gallery: Gallery | None = None  # the frames with the worst errors, where they were asked for
    froc: Froc | None = None  # what the hazards of single frames were worth
    obstacles: ObstacleFigures | None = None  # detection by obstacle along a drive, before the hazard stage
    hazards: HazardFigures | None = None  # what the alerts of a drive were worth
    remarks: list[str] = field(default_factory=list)  # sentences for the report; not in the JSON, as plots are not

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


@dataclass
class Block:
    """A part of what is shown: tables and lines of text; in a report charts with a legend and pictures, or folded."""

    title: str
    tables: Sequence[Table] = ()
    lines: Sequence[str] = ()
    charts: Sequence[str] = ()
    legend: str = ""
    pictures: Sequence[dict[str, Any]] = ()
    folded: bool = False


CLOSED_SET, BY_DISTANCE, HAZARDS, ALERTS = "Closed set", "By distance", "Hazards of single frames", "Alerts"
"""Titles of the blocks that a report draws charts for."""


def blocks(result: EvaluationResult) -> list[Block]:
    """Returns what was found, but for the main table, in the order of the text."""
    found = []
    if result.operating_points:
        found.append(Block("Thresholds", [_point_table(result.operating_points)]))
    if result.class_iou:
        rows = [[name, percent(100 * value)] for name, value in result.class_iou.items()]
        found.append(Block(CLOSED_SET, [(["class", "IoU"], rows)]))
    if result.distances:
        found.append(Block(BY_DISTANCE, [_distance_table(result)]))
    if result.froc is not None:
        found.append(Block(HAZARDS, [hazard_table(result.froc), froc_table(result.froc)]))
    if result.obstacles is not None:
        found.append(Block("Obstacles", [_obstacle_table(result.obstacles)], _obstacle_lines(result.obstacles)))
    if (hazards := result.hazards) is not None:
        tables = [_alert_table(hazards), _speed_table(hazards)] if hazards.first_alert else []
        found.append(Block(ALERTS, tables, _alert_lines(hazards)))
    return found


def format_result(result: EvaluationResult) -> str:
    """Writes the whole result for a terminal."""
    parts = [f"{result.dataset}: {result.model}, {result.frames} frames in {result.seconds:.1f} s on {result.device}"]
    for block in (Block("", [main_table(result)]), *blocks(result)):
        parts += [format_table(header, rows) for header, rows in block.tables if rows]
        parts += ["\n".join(block.lines)] if block.lines else []
    return "\n\n".join([*parts, *notes(result)])


def percent(value: float | None, digits: int = 2, missing: str = "-") -> str:
    """Writes a figure that is in percent; ``missing`` where it is undefined."""
    return missing if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _share(found: int, number: int, digits: int = 1) -> str:
    return percent(100 * found / number if number else None, digits)


def _main_rows(result: EvaluationResult) -> tuple[list[str], list[Row]]:
    """The columns with a value, and our rows, one a score, or one for the closed set; then the published ones."""
    rows: list[Row] = [(name, result.figures(name), "measured") for name in result.pixel]
    if not math.isnan(result.mean_iou) and not result.open_set:
        rows.append((result.model, {MEAN_IOU: 100 * result.mean_iou}, "measured"))
    rows += published_rows(result.dataset)
    every = [column for columns in _FIGURES.values() for column in columns]
    return [name for name in every if any(name in figures for _, figures, _ in rows)], rows


def main_table(result: EvaluationResult) -> Table:
    """Returns the main table; without rows, nothing was measured and nothing published."""
    columns, rows = _main_rows(result)
    cells = [[who, *(percent(figures.get(name)) for name in columns), origin] for who, figures, origin in rows]
    return ["score", *columns, "from"], cells


def to_csv(result: EvaluationResult) -> str:
    """Writes the main table, published rows included, and the distance bins as CSV (percent, empty = undefined)."""
    columns, rows = _main_rows(result)
    lines = [(who, "", figures, origin) for who, figures, origin in rows]
    for name, bins in result.distances.items():
        for (low, high), metrics in zip(pairwise(result.edges), bins, strict=True):
            figures = {column: 100 * getattr(metrics, key) for column, key in _PIXEL.items()}
            lines.append((name, f"{low:g}-{high:g}", figures, "measured"))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["dataset", "score", "distance", *columns, "from"])
    for who, where, figures, origin in lines:
        cells = (percent(figures.get(name), 6, "") for name in columns)
        writer.writerow([result.dataset, who, where, *cells, origin])
    return stream.getvalue()


def notes(result: EvaluationResult) -> list[str]:
    """What a reader must know beside the figures, one sentence each."""
    note = protocol_of(result.dataset).note
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


def _point_table(points: Sequence[OperatingPoint]) -> Table:
    """By threshold, rates in percent."""
    rows = []
    for point in points:
        parts = point.components
        rates = (point.precision, point.recall, point.f1, point.fpr, parts.mean_siou, parts.mean_ppv, parts.mean_f1)
        rows.append([f"{point.threshold:.3f}", *(percent(100 * rate) for rate in rates)])
    return ["threshold", "precision", "recall", "F1", "FPR", "sIoU", "PPV", "F1*"], rows


def hazard_table(froc: Froc) -> Table:
    """Returns the recall by group, in percent, at the points of ``Froc.columns``."""
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


def froc_table(froc: Froc) -> Table:
    """Returns the steps of the FROC curve."""
    rows = [
        [f"{false:.3f}", _share(point.all_found, froc.obstacles), f"{point.threshold:.2f}"]
        for false, point in froc.steps()
    ]
    return ["false hazards a frame, at most", "found [%]", "threshold [nats]"], rows


def published_bins(result: EvaluationResult) -> dict[str, list[tuple[float, float]]]:
    """The paper's (AP, FPR95) in percent of each bin, where ours are the same bins of the same data set."""
    if result.dataset != "lost_and_found" or tuple(result.edges) != DEFAULT_EDGES:
        return {}
    return {f"{method} (paper, table 6)": figures for method, figures in PUBLISHED_BY_DISTANCE.items()}


def _distance_table(result: EvaluationResult) -> Table:
    """By distance: our scores, then the published methods."""
    published = published_bins(result)
    header = ["distance [m]"]
    header += [f"{name} {figure}" for name in result.distances for figure in _PIXEL]
    header += [f"{method} {figure}" for method in published for figure in OPEN_SET[:2]]
    rows = []
    for index, (low, high) in enumerate(pairwise(result.edges)):
        ours = [100 * getattr(bins[index], key) for bins in result.distances.values() for key in _PIXEL.values()]
        theirs = [value for figures in published.values() for value in figures[index]]
        rows.append([f"{low:g} to {high:g}", *map(percent, (*ours, *theirs))])
    return header, rows


def _obstacle_table(figures: ObstacleFigures) -> Table:
    counts = {f"{item.low:g} to {item.high:g}": (item.seen, item.detected) for item in figures.bins}
    counts["all"] = figures.seen, figures.detected
    rows = [[name, str(seen), str(found), _share(found, seen, 2)] for name, (seen, found) in counts.items()]
    return ["distance [m]", "seen", "detected", "recall"], rows


def _obstacle_lines(figures: ObstacleFigures) -> list[str]:
    """Says what the threshold does, and from where on each obstacle stays detected."""
    lines = [
        f"obstacles: at threshold {figures.threshold:.3f}, {percent(100 * figures.recall)} % of the sightings are "
        f"detections; {figures.false_alarms_per_frame:.2f} false alarms a frame"
    ]
    return lines + ([f"detected for good: {_places(figures.lasting, 'from')}"] if figures.lasting else [])


def _places(distances: dict[str, float | None], word: str) -> str:
    """Writes the distance of each obstacle."""
    return ", ".join(
        f"#{name} " + ("never" if distance is None else f"{word} {distance:.1f} m")
        for name, distance in distances.items()
    )


def _alert_lines(figures: HazardFigures) -> list[str]:
    """Says how many alerts were raised, how many of them were false, and from where on each obstacle is alerted."""
    way = "" if figures.kilometres is None else f" and {figures.kilometres:.2f} km"
    lines = [f"alerts: {figures.raised} hazards raised in {figures.minutes:.2f} minutes{way}"]
    if figures.false_alarms is not None:
        rates = {"minute": figures.false_alarms_per_minute, "kilometre": figures.false_alarms_per_kilometre}
        told = [f"{rate:.2f} a {unit}" for unit, rate in rates.items() if rate is not None]
        lines.append(", ".join([f"false alarms: {figures.false_alarms}", *told]))
    if figures.first_alert:
        lines.append(f"first alerted: {_places(figures.first_alert, 'at')}")
    if figures.distance_error is not None and figures.within_two_sigma is not None:
        lines.append(
            f"alerted distances: median error {figures.distance_error:.2f} m, {100 * figures.within_two_sigma:.1f} % "
            "within twice the stated deviation"
        )
    return lines + [f"named by the hazard stage in {count} frames: {text}" for text, count in figures.problems.items()]


def _alert_table(figures: HazardFigures) -> Table:
    rows = [
        [f"{item.low:g} to {item.high:g}", *map(str, (item.obstacles, item.found, item.obstacles - item.found))]
        for item in figures.bins
    ]
    return ["distance [m]", "obstacles", "alerted", "missed"], rows


def _speed_table(figures: HazardFigures) -> Table:
    """Up to which speed the alerts come in time to stop."""
    rows = []
    for item in figures.speeds:
        margin = "-" if item.worst_margin is None else f"{item.worst_margin:+.1f}"
        counts = str(item.obstacles), str(item.in_time)
        rows.append([f"{item.speed:g}", f"{item.stopping_distance:.1f}", *counts, margin])
    return ["speed [km/h]", "stopping distance [m]", "obstacles in sight", "alerted in time", "worst margin [m]"], rows
