# SPDX-License-Identifier: Apache-2.0
"""``report.html``: one self-contained page with the figures, curves and worst frames of evaluations."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import groupby, islice, pairwise
from pathlib import Path

import numpy as np

from densehybrid_ros import __version__
from densehybrid_ros.evaluation.curves import CurvePoints
from densehybrid_ros.evaluation.gallery import FALSE_ALARM, MISS, UNKNOWN, WRONG_CLASS, Gallery
from densehybrid_ros.evaluation.protocols import AP, FPR95
from densehybrid_ros.evaluation.results import (
    ALERTS,
    BY_DISTANCE,
    CLOSED_SET,
    HAZARDS,
    Block,
    EvaluationResult,
    blocks,
    main_table,
    notes,
    published_bins,
    to_csv,
)
from densehybrid_ros.files import write_together
from densehybrid_ros.pages import render
from densehybrid_ros.pages.charts import Axis, Series, histogram, legend, line_chart, matrix, round_up

_LOWEST_FPR = 1e-5
_DRIVES_SHOWN = 8
_UNIT = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_HITS = "Green: found. Red: false alarm. Yellow: missed. Dark: not evaluated. Beside it: the score, bright where high."
_GALLERY = {
    FALSE_ALARM: ("Most false alarms", "its inlier pixels", _HITS),
    MISS: ("Most missed", "its anomalous pixels", _HITS),
    WRONG_CLASS: (
        "Most pixels of a wrong class",
        "its labelled pixels",
        "Red: wrong class. Dark: not evaluated. Beside it: the predicted classes in their colours.",
    ),
    UNKNOWN: ("Most unknown pixels", "the frame", "Cyan: unknown, of a frame without labels."),
}
"""Kind of picture -> title, what its share is of, and what its colours mean."""
Charts = tuple[list[str], str]
"""SVG charts, and their legend."""


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
        "main": main_table(result),
        "notes": [*result.remarks, *notes(result), *left_out],
        "blocks": _blocks(result),
    }


def _blocks(result: EvaluationResult) -> list[Block]:
    found = sorted(blocks(result), key=lambda block: block.title == CLOSED_SET)
    draw = {BY_DISTANCE: _by_distance, HAZARDS: _froc, ALERTS: _alerts, CLOSED_SET: _closed_set}
    for block in found:
        if block.title in draw:
            block.charts, block.legend = draw[block.title](result)
    curves = [_curves(result.curves)] if result.curves else []
    curves += [_by_threshold(result, name, folded=bool(place)) for place, name in enumerate(result.curves)]
    place = 1 if result.operating_points else 0
    found[place:place] = [block for block in curves if block.charts]
    return found + (_gallery(result.gallery) if result.gallery is not None else [])


def _curves(curves: dict[str, CurvePoints]) -> Block:
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
    return Block("Curves", charts=charts, legend=legend(list(curves)))


def _steps(points: CurvePoints) -> tuple[list[float], list[float]]:
    """The curve as average precision sums it up: each precision holds from the recall before to its own."""
    before = np.concatenate(([0.0], points.recall[:-1]))
    recall = np.stack((before, points.recall), axis=1).ravel()
    return recall.tolist(), np.repeat(points.precision, 2).tolist()


def _by_threshold(result: EvaluationResult, name: str, folded: bool) -> Block:
    """Precision, recall and F1 against the threshold, and how the score is spread; no charts where it is constant."""
    block = Block(f"{name} by threshold", folded=folded)
    points, spread = result.curves[name], result.histograms.get(name)
    finite = points.thresholds[np.isfinite(points.thresholds)].tolist()
    low, high = (spread.low, spread.high) if spread else (min(finite, default=0.0), max(finite, default=0.0))
    if not low < high:
        return block
    x_axis = Axis(f"threshold of {name}", low, high)
    inside = (points.thresholds >= low) & (points.thresholds <= high)
    thresholds, recall, precision = (values[inside] for values in (points.thresholds, points.recall, points.precision))
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    lines = {"precision": precision, "recall": recall, "F1": f1}
    series = [Series(what, thresholds.tolist(), values.tolist()) for what, values in lines.items()]
    block.charts = charts = [line_chart("Precision, recall and F1", x_axis, Axis("", 0, 1, ticks=_UNIT), series)]
    block.legend = legend([*lines])
    if spread is not None:
        axis = Axis(name, spread.low, spread.high)
        kinds = {"known": spread.known, "unknown": spread.unknown}
        shares = {kind: [100 * share for share in values] for kind, values in kinds.items()}
        charts.append(histogram("Score of known (blue) and unknown (orange) pixels", axis, shares))
    return block


def _by_distance(result: EvaluationResult) -> Charts:
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
    return charts, legend([*lines])


def _froc(result: EvaluationResult) -> Charts:
    """Recall over false hazards a frame, in steps: at a rate it is what the best point with fewer finds."""
    froc = result.froc
    assert froc is not None
    low, high = 10.0 ** math.floor(math.log10(1 / froc.frames)), 10.0
    x, y = [low], [0.0]
    for rate, point in froc.steps():
        if rate <= high:
            x += [rate, rate]
            y += [y[-1], point.all_found / max(froc.obstacles, 1)]
    lines = [Series("best threshold", [*x, high], [*y, y[-1]])]
    for name, named in froc.columns().items():
        if name in froc.named and named is not None and named.false_hazards <= high * froc.frames:
            place = [named.false_hazards / froc.frames], [named.all_found / max(froc.obstacles, 1)]
            lines.append(Series(name, *place, dots=True))
    axes = Axis("false hazards a frame (logarithmic)", low, high, log=True), Axis("found", 0, 1, ticks=_UNIT)
    chart = line_chart("Obstacles found over false hazards (FROC)", *axes, lines)
    return [chart], legend([line.name for line in lines])


def _alerts(result: EvaluationResult) -> Charts:
    """The number of hazards and the nearest one's distance over time, a line a drive."""
    assert result.hazards is not None
    every = groupby(result.hazards.timeline, key=lambda moment: moment.drive)
    drives = {name: list(own) for name, own in islice(every, _DRIVES_SHOWN)}
    moments = [moment for line in drives.values() for moment in line]
    if len(moments) == len(drives):
        return [], ""
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
    return charts, legend([*drives]) if len(drives) > 1 else ""


def _closed_set(result: EvaluationResult) -> Charts:
    if not result.confusion:
        return [], ""
    counts = np.array(result.confusion, dtype=float)
    with np.errstate(invalid="ignore"):
        shares = counts / counts.sum(axis=1, keepdims=True)
    title = "Confusion: each row's pixels by predicted class [%]"
    return [matrix(title, list(result.class_iou), shares.tolist())], ""


def _gallery(gallery: Gallery) -> list[Block]:
    found = []
    for kind, (title, of, meaning) in _GALLERY.items():
        pictures = []
        for picture in gallery.pictures[kind]:
            caption = f"{picture.name}: {picture.pixels} pixels, {100 * picture.share:.1f} % of {of}"
            pictures.append({"caption": caption, "jpeg": picture.jpeg, "beside": picture.beside})
        if pictures:
            at = "" if kind == WRONG_CLASS else f" at {gallery.score} above {gallery.threshold:.3f}"
            found.append(Block(title + at, lines=[meaning], pictures=pictures))
    return found
