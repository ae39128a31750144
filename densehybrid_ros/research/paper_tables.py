# SPDX-License-Identifier: Apache-2.0
"""The tables of the paper: which data sets and figures each has, ours laid out beside its published rows."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.datasets.registry import open_evaluation_set
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.protocols import AP, AUROC, FPR95, MEAN_IOU, OPEN_SET, published_groups
from densehybrid_ros.evaluation.results import EvaluationResult, notes, percent, published_bins
from densehybrid_ros.evaluation.text_tables import Group, format_groups
from densehybrid_ros.evaluation.text_tables import Part as TextPart

OURS = "measured"
"""What stands in a table's last column beside our own rows."""


class Part(NamedTuple):
    """The columns that one data set gives to a table."""

    dataset: str  # Name in the registry, and of the set's folder below the table's
    label: str  # Heading of the columns, before the name of the figure
    figures: tuple[str, ...] = (AP, FPR95)  # Names of the figures
    folders: tuple[str, ...] = ()  # Other folders to look in where there is none of the set's own name


class PaperTable(NamedTuple):
    """One table of the paper: its number there, what it shows, its columns, the scores that are usual for it."""

    number: int
    title: str
    parts: tuple[Part, ...]
    scores: tuple[str, ...]


_FISHYSCAPES = Part("fishyscapes_lost_and_found", "FS L&F"), Part("fishyscapes_static", "FS Static")
_SEGMENT_ME = (
    Part("smiyc_anomaly", "Anomaly"),
    Part("smiyc_obstacle", "Obstacle"),
    Part("smiyc_lost_and_found_no_known", "LAF-noKnown", folders=("lost_and_found",)),
)
_CITYSCAPES = Part("cityscapes", "CS val", (MEAN_IOU,))
_VOID = Part("cityscapes_void", "", (AUROC,), ("cityscapes",))
_TABLES: dict[str, tuple[tuple[Part, ...], str]] = {
    "dense anomaly detection on SegmentMeIfYouCan and Fishyscapes": (
        (*_SEGMENT_ME, *_FISHYSCAPES, _CITYSCAPES),
        "hybrid max_softmax",
    ),
    "RoadAnomaly and Fishyscapes val": (
        (Part("road_anomaly", "RoadAnomaly"), *_FISHYSCAPES),
        "hybrid max_softmax max_logit energy",
    ),
    "Cityscapes val with its void classes as unknown": ((_VOID,), "hybrid max_softmax entropy"),
    "StreetHazards: anomaly detection and open-set segmentation": (
        (Part("street_hazards", "", OPEN_SET),),
        "hybrid max_softmax energy oh oh_msp",
    ),
    "components of the hybrid score on Fishyscapes val": (_FISHYSCAPES, "posterior likelihood hybrid"),
    "LostAndFound test by distance from the camera": (
        (Part("lost_and_found", ""),),
        "hybrid max_softmax max_logit",
    ),
}
PAPER_TABLES: dict[int, PaperTable] = {
    number: PaperTable(number, title, parts, tuple(scores.split()))
    for number, (title, (parts, scores)) in enumerate(_TABLES.items(), 1)
}
"""Number -> table."""


def open_parts(table: PaperTable, root: Path) -> tuple[dict[str, LabelledSet], list[str]]:
    """Opens the data sets of a table that lie in ``root``, each in a folder of its registry name.

    Returns:
        Name -> data set, and for each set that can't be opened a line that names its folder.

    Raises:
        InputError: None of them is there.
    """
    found: dict[str, LabelledSet] = {}
    missing: list[str] = []
    for part in table.parts:
        names = (part.dataset, *part.folders)
        folder = next((root / name for name in names if (root / name).is_dir()), None)
        if folder is None:
            missing.append(f"{root / part.dataset}: no such folder; the columns of {part.dataset} stay empty")
            continue
        try:
            found[part.dataset] = open_evaluation_set(part.dataset, folder)
        except InputError as error:
            missing.append(f"{part.dataset}: {error}")
    if not found:
        wanted = ", ".join(part.dataset for part in table.parts)
        raise InputError(f"{root}: holds no data set of table {table.number} ({wanted}); {missing[0]}")
    return found, missing


DASH = "-: the paper gives no figure, or its data set was not measured here"
"""What stands below every table."""
_BY_DISTANCE = 6
Row = tuple[str, list[float | None], str]
"""Who, a figure in percent (None: not known) for each column, where it comes from."""


def header(table: PaperTable) -> list[str]:
    """Names of the columns with figures."""
    return [f"{part.label} {figure}".strip() for part in table.parts for figure in part.figures]


def table_rows(table: PaperTable, results: Sequence[EvaluationResult]) -> list[Row]:
    """Our rows, one for each model and score, then the paper's in its order."""
    return [row for _, rows in _row_groups(table, results) for row in rows]


def _row_groups(table: PaperTable, results: Sequence[EvaluationResult]) -> list[tuple[str, list[Row]]]:
    columns = [(part.dataset, figure) for part in table.parts for figure in part.figures]
    ours: list[Row] = []
    for model in dict.fromkeys(result.model for result in results):
        measured = {result.dataset: result for result in results if result.model == model}
        for score in dict.fromkeys(name for result in measured.values() for name in result.pixel) or [model]:
            figures = [_measured(measured.get(dataset), score, figure) for dataset, figure in columns]
            ours.append((row_name(model, score), figures, OURS))
    groups, source = [(OURS, ours)], f"paper, table {table.number}"
    for title, methods in published_groups(table.number):
        rows = [(method, [_known(value) for value in figures], source) for method, figures in methods.items()]
        groups.append((f"{source}, {title}", rows))
    return groups


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def row_name(model: str, score: str) -> str:
    """Names a row of ours; the scores of others have one name for both."""
    return score if score.startswith(model) else f"{model} {score}"


def _measured(result: EvaluationResult | None, score: str, figure: str) -> float | None:
    if result is None:
        return None
    found = result.figures(score).get(figure)
    if found is None and figure == MEAN_IOU:  # of the closed set, whatever the score
        found = 100 * result.mean_iou
    return _known(found)


def table_layout(table: PaperTable, results: Sequence[EvaluationResult]) -> tuple[str, list[TextPart], list[Group]]:
    """The table as it is shown: name of the first column, columns under headings, groups of rows."""
    if table.number == _BY_DISTANCE:
        return _layout_by_distance(results)
    parts: list[TextPart] = [(part.label, part.figures) for part in table.parts]
    groups = [
        (title, [(who, [percent(value) for value in figures]) for who, figures, _ in rows])
        for title, rows in _row_groups(table, results)
    ]
    return "method", parts, groups


def page_table(table: PaperTable, results: Sequence[EvaluationResult]) -> dict[str, object]:
    """The table as ``evaluation.report`` shows it."""
    corner, parts, groups = table_layout(table, results)
    title = f"Table {table.number}: {table.title}"
    return {"title": title, "corner": corner, "parts": parts, "groups": groups, "dash": DASH}


def _layout_by_distance(results: Sequence[EvaluationResult]) -> tuple[str, list[TextPart], list[Group]]:
    columns = [
        (row_name(result.model, score), [(100 * item.average_precision, 100 * item.fpr95) for item in bins])
        for result in results
        for score, bins in result.distances.items()
    ]
    columns += published_bins(results[0]).items()
    parts: list[TextPart] = [(name, (AP, FPR95)) for name, _ in columns]
    rows = [
        (f"{low:g} to {high:g}", [percent(figure) for _, bins in columns for figure in bins[index]])
        for index, (low, high) in enumerate(pairwise(results[0].edges))
    ]
    return "distance [m]", parts, [("", rows)]


def format_paper_table(table: PaperTable, results: Sequence[EvaluationResult]) -> str:
    """Lays the table out for a terminal, with what a reader must know below it."""
    parts = [f"table {table.number}: {table.title}", f"{format_groups(*table_layout(table, results))}\n{DASH}"]
    for result in results:
        where = f"{result.dataset}: {result.model}, {result.frames} frames in {result.seconds:.1f} s on {result.device}"
        parts.append("\n".join([where, *(f"  {line}" for line in notes(result))]))
    return "\n\n".join(parts)


def paper_table_csv(table: PaperTable, results: Sequence[EvaluationResult]) -> str:
    """Writes the table as CSV (percent, empty where nothing is known)."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    if table.number == _BY_DISTANCE:
        corner, parts, groups = table_layout(table, results)
        writer.writerow([corner, *(f"{heading} {figure}" for heading, figures in parts for figure in figures)])
        rows = [[who, *cells] for _, found in groups for who, cells in found]
        writer.writerows([["" if cell == "-" else cell for cell in row] for row in rows])
        return stream.getvalue()
    writer.writerow(["method", *header(table), "from"])
    for who, figures, origin in table_rows(table, results):
        writer.writerow([who, *("" if value is None else f"{value:.6f}" for value in figures), origin])
    return stream.getvalue()
