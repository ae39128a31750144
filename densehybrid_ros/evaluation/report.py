# SPDX-License-Identifier: Apache-2.0
"""``report.html``: one self-contained page with the figures, curves and worst frames of evaluations."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from densehybrid_ros import __version__
from densehybrid_ros.evaluation.curves import CurvePoints
from densehybrid_ros.evaluation.froc import Froc
from densehybrid_ros.evaluation.gallery import FALSE_ALARM, MISS, UNKNOWN, WRONG_CLASS, Gallery, Picture
from densehybrid_ros.evaluation.hazard_figures import (
    HazardFigures,
    Moment,
    hazard_bin_rows,
    hazard_lines,
    speed_rows,
)
from densehybrid_ros.evaluation.protocols import AP, FPR95
from densehybrid_ros.evaluation.results import (
    EvaluationResult,
    class_rows,
    distance_rows,
    froc_rows,
    hazard_rows,
    main_table,
    notes,
    obstacle_lines,
    obstacle_rows,
    point_rows,
    published_bins,
    to_csv,
)
from densehybrid_ros.files import write_together
from densehybrid_ros.pages import render
from densehybrid_ros.pages.charts import Axis, Series, histogram, legend, line_chart, matrix, round_up

_LOWEST_FPR = 1e-5
_DRIVES_SHOWN = 8
_UNIT = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_GALLERY_TITLES = {
    FALSE_ALARM: ("Most false alarms", "its inlier pixels"),
    MISS: ("Most missed", "its anomalous pixels"),
    WRONG_CLASS: ("Most pixels of a wrong class", "its labelled pixels"),
    UNKNOWN: ("Most unknown pixels", "the frame"),
}


@dataclass
class _Block:
    """A part of a section: lines of text, charts with a legend, tables, pictures; folded ones open on a click."""

    title: str
    lines: Sequence[str] = ()
    legend: str = ""
    charts: Sequence[str] = ()
    tables: Sequence[_Table] = ()
    pictures: Sequence[Mapping[str, str]] = ()
    folded: bool = False


@dataclass
class _Table:
    """A table; ``measured`` are the numbers of the rows that are ours, ``from_last``: the last column is text."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    measured: set[int] = field(default_factory=set)
    from_last: bool = False


def write_report(folder: Path, results: Sequence[EvaluationResult], table: Mapping[str, object] | None = None) -> None:
    """Writes ``report.html``, ``report.json`` and ``report.csv`` into a folder, all or none.

    The page begins with ``table``, as ``research.paper_tables.page_table`` gives it.
    """
    texts = {
        "report.json": json.dumps([result.to_dict() for result in results], indent=2, allow_nan=False) + "\n",
        "report.csv": "\n".join(to_csv(result) for result in results),
        "report.html": report_page(results, table),
    }
    write_together({folder / name: text.encode() for name, text in texts.items()})


def report_page(results: Sequence[EvaluationResult], table: Mapping[str, object] | None = None) -> str:
    """Builds the page; arguments as of ``write_report``."""
    models = ", ".join(dict.fromkeys(result.model for result in results))
    sections = [_section(result) for result in results]
    return render("report.html", title=f"Evaluation of {models}", version=__version__, table=table, sections=sections)


def _section(result: EvaluationResult) -> dict[str, object]:
    size = f", input {result.size[1]}x{result.size[0]}" if result.size else ""
    lead = f"{result.model}, {result.frames} frames in {result.seconds:.1f} s on {result.device}{size}"
    left_out = [f"left out: {reason}" for reason in result.left_out[1:]]
    return {
        "title": result.dataset,
        "lead": lead,
        "main": _main_table(result),
        "notes": [*result.remarks, *notes(result), *left_out],
        "blocks": list(filter(None, _blocks(result))),
    }


def _blocks(result: EvaluationResult) -> list[_Block | None]:
    points, obstacles = result.operating_points, result.obstacles
    return [
        _Block("Thresholds", tables=[_Table(*point_rows(points))]) if points else None,
        _curves(result.curves) if result.curves else None,
        *(_by_threshold(result, name, bool(place)) for place, name in enumerate(result.curves)),
        _distances(result) if result.distances else None,
        _Block("Obstacles", obstacle_lines(obstacles), tables=[_Table(*obstacle_rows(obstacles))])
        if obstacles is not None
        else None,
        _froc(result.froc) if result.froc is not None else None,
        _alerts(result.hazards) if result.hazards is not None else None,
        _closed_set(result) if result.class_iou else None,
        *(_gallery(result.gallery) if result.gallery is not None else ()),
    ]


def _main_table(result: EvaluationResult) -> _Table | None:
    header, rows = main_table(result)
    measured = {place for place, row in enumerate(rows) if row[-1] == "measured"}
    return _Table(header, rows, measured, from_last=True) if rows else None


def _curves(curves: dict[str, CurvePoints]) -> _Block:
    precision_recall, roc = [], []
    for name, points in curves.items():
        recall, precision = _steps(points)
        precision_recall.append(Series(name, recall, precision))
        roc.append(Series(name, [*points.fpr.tolist(), 1.0], [*points.recall.tolist(), 1.0]))
    recall_axis, rate = Axis("recall", 0, 1, ticks=_UNIT), Axis("true positive rate", 0, 1, ticks=_UNIT)
    charts = [
        line_chart("Precision and recall", recall_axis, Axis("precision", 0, 1, ticks=_UNIT), precision_recall),
        line_chart("ROC", Axis("false positive rate (logarithmic)", _LOWEST_FPR, 1, log=True), rate, roc),
    ]
    return _Block("Curves", legend=legend(list(curves)), charts=charts)


def _steps(points: CurvePoints) -> tuple[list[float], list[float]]:
    """The curve as average precision sums it up: each precision holds from the recall before to its own."""
    before = np.concatenate(([0.0], points.recall[:-1]))
    recall = np.stack((before, points.recall), axis=1).ravel()
    return recall.tolist(), np.repeat(points.precision, 2).tolist()


def _by_threshold(result: EvaluationResult, name: str, folded: bool) -> _Block | None:
    """Precision, recall and F1 against the threshold, and how the score is spread."""
    points, spread = result.curves[name], result.histograms.get(name)
    low, high = (spread.low, spread.high) if spread else _ends(points.thresholds)
    if not low < high:
        return None
    x_axis = Axis(f"threshold of {name}", low, high)
    inside = np.isfinite(points.thresholds) & (points.thresholds >= low) & (points.thresholds <= high)
    thresholds, recall, precision = (values[inside] for values in (points.thresholds, points.recall, points.precision))
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    lines = {"precision": precision, "recall": recall, "F1": f1}
    series = [Series(what, thresholds.tolist(), values.tolist()) for what, values in lines.items()]
    charts = [line_chart("Precision, recall and F1", x_axis, Axis("", 0, 1, ticks=_UNIT), series)]
    if spread is not None:
        axis = Axis(name, spread.low, spread.high)
        shares = {
            "known": [100 * share for share in spread.known],
            "unknown": [100 * share for share in spread.unknown],
        }
        charts.append(histogram("Score of known (blue) and unknown (orange) pixels", axis, shares))
    return _Block(f"{name} by threshold", legend=legend([*lines]), charts=charts, folded=folded)


def _ends(thresholds: np.ndarray) -> tuple[float, float]:
    finite = thresholds[np.isfinite(thresholds)]
    return (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)


def _distances(result: EvaluationResult) -> _Block:
    edges = result.edges
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    x_axis = Axis("distance [m]", edges[0], edges[-1], ticks=edges)
    lines = {
        name: [(100 * item.average_precision, 100 * item.fpr95) for item in bins]
        for name, bins in result.distances.items()
    } | published_bins(result)
    precision, rates = (
        [
            Series(name, middles, [pair[place] for pair in pairs], dashed=name not in result.distances, dots=True)
            for name, pairs in lines.items()
        ]
        for place in (0, 1)
    )
    highest = max([5.0, *(value for line in rates for value in line.y if not math.isnan(value))])
    top = min(100.0, 5 * math.ceil(highest / 5))
    charts = [
        line_chart("AP by distance", x_axis, Axis(f"{AP} [%]", 0, 100), precision),
        line_chart("FPR95 by distance", x_axis, Axis(f"{FPR95} [%]", 0, top), rates),
    ]
    return _Block("By distance", legend=legend([*lines]), charts=charts, tables=[_Table(*distance_rows(result))])


def _froc(froc: Froc) -> _Block:
    """Recall over false hazards a frame, in steps: at a rate it is what the best point with fewer finds."""
    low, high = 10.0 ** math.floor(math.log10(1 / froc.frames)), 10.0
    rates, found = [low], [0.0]
    for rate, point in froc.steps():
        rates += [rate, rate]
        found += [found[-1], point.all_found / max(froc.obstacles, 1)]
    inside = [place for place, rate in enumerate(rates) if rate <= high]
    x = [*(rates[place] for place in inside), high]
    y = [*(found[place] for place in inside), found[inside[-1]]]
    lines = [Series("best threshold", x, y)]
    for name, named in froc.columns().items():
        if name in froc.named and named is not None and named.false_hazards <= high * froc.frames:
            place = [named.false_hazards / froc.frames], [named.all_found / max(froc.obstacles, 1)]
            lines.append(Series(name, *place, dots=True))
    axes = Axis("false hazards a frame (logarithmic)", low, high, log=True), Axis("found", 0, 1, ticks=_UNIT)
    return _Block(
        "Hazards of single frames",
        legend=legend([line.name for line in lines]),
        charts=[line_chart("Obstacles found over false hazards (FROC)", *axes, lines)],
        tables=[_Table(*hazard_rows(froc)), _Table(*froc_rows(froc))],
    )


def _alerts(figures: HazardFigures) -> _Block:
    drives: dict[str, list[Moment]] = {}
    for moment in figures.timeline:
        drives.setdefault(moment.drive, []).append(moment)
    shown = dict([*drives.items()][:_DRIVES_SHOWN])
    block = _Block("Alerts", hazard_lines(figures))
    if any(len(moments) > 1 for moments in shown.values()):
        block.charts = _timeline(shown)
        block.legend = legend([*shown]) if len(shown) > 1 else ""
    if figures.first_alert:
        block.tables = [_Table(*hazard_bin_rows(figures)), _Table(*speed_rows(figures))]
    return block


def _timeline(drives: dict[str, list[Moment]]) -> list[str]:
    """Charts of the number of hazards and the nearest one's distance over time, a line a drive."""
    moments = [moment for line in drives.values() for moment in line]
    x_axis = Axis("time [s]", 0, round_up(max(max(moment.seconds for moment in moments), 0.1)))
    most = round_up(max(5, max(moment.hazards for moment in moments)))
    counts, distances = [], []
    for name, line in drives.items():
        seconds = [moment.seconds for moment in line]
        counts.append(Series(name, seconds, [float(moment.hazards) for moment in line]))
        near = [math.nan if moment.nearest is None else moment.nearest for moment in line]
        distances.append(Series(name, seconds, near))
    charts = [line_chart("Active hazards", x_axis, Axis("hazards", 0, most), counts)]
    known = [value for line in distances for value in line.y if not math.isnan(value)]
    if known:
        y_axis = Axis("distance [m]", 0, round_up(max(*known, 10.0)))
        charts.append(line_chart("Distance of the nearest hazard", x_axis, y_axis, distances))
    return charts


def _closed_set(result: EvaluationResult) -> _Block:
    charts = []
    if result.confusion:
        counts = np.array(result.confusion, dtype=float)
        with np.errstate(invalid="ignore"):
            shares = counts / counts.sum(axis=1, keepdims=True)
        title = "Confusion: each row's pixels by predicted class [%]"
        charts = [matrix(title, list(result.class_iou), shares.tolist())]
    return _Block("Closed set", charts=charts, tables=[_Table(*class_rows(result))])


def _gallery(gallery: Gallery) -> list[_Block]:
    at = f" at {gallery.score} above {gallery.threshold:.3f}"
    colours = (
        "Green: found. Red: false alarm. Yellow: missed. Dark: not evaluated. Beside it: the score, bright where high."
    )
    lines = {
        FALSE_ALARM: colours,
        MISS: colours,
        WRONG_CLASS: "Red: wrong class. Dark: not evaluated. Beside it: the predicted classes in their colours.",
        UNKNOWN: "Cyan: unknown, of a frame without labels.",
    }
    blocks = []
    for kind, (title, of) in _GALLERY_TITLES.items():
        pictures = [_shown(picture, of) for picture in gallery.pictures[kind]]
        if pictures:
            blocks.append(_Block(title + ("" if kind == WRONG_CLASS else at), [lines[kind]], pictures=pictures))
    return blocks


def _shown(picture: Picture, of: str) -> dict[str, str]:
    """A picture, as text that a page can hold, and what lies beside it."""
    caption = f"{picture.name}: {picture.pixels} pixels, {100 * picture.share:.1f} % of {of}"
    jpeg, beside = (base64.b64encode(data).decode("ascii") for data in (picture.jpeg, picture.beside))
    return {"caption": caption, "jpeg": jpeg, "beside": beside}
