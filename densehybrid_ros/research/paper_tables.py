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

from densehybrid_ros.datasets.evaluation_set import EvaluationSet
from densehybrid_ros.datasets.registry import open_evaluation_set
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.protocols import AP, AUROC, FPR95, GAP, MEAN_F1, MEAN_IOU, OPEN_MEAN_IOU, PROTOCOLS
from densehybrid_ros.evaluation.results import BINNED, EvaluationResult, notes, percent, published_bins
from densehybrid_ros.evaluation.text_tables import Group, format_groups
from densehybrid_ros.evaluation.text_tables import Part as TextPart

OURS = "measured"
"""What stands in a table's last column beside our own rows."""
DASH = "-: the paper gives no figure, or its data set was not measured here"
"""What stands below every table."""
_BY_DISTANCE = 6
_WITHOUT, _WITH = "trained without real negatives", "trained with real negatives"
_PIXEL = (AP, FPR95)
_COMMON = ("hybrid", "max_softmax", "max_logit", "energy")

Row = tuple[str, list[float | None], str]
"""Who, a figure in percent (None: not known) for each column, where it comes from."""


class Part(NamedTuple):
    """The columns that one data set gives to a table.

    Attributes:
        dataset: Name in the registry, and of the set's folder below the table's.
        label: Heading of the columns, before the name of the figure.
        figures: Names of the figures.
        folders: Other folders to look in where there is none of the set's own name.
    """

    dataset: str
    label: str
    figures: tuple[str, ...]
    folders: tuple[str, ...] = ()


class PaperTable(NamedTuple):
    """One table of the paper.

    Attributes:
        number: Its number there.
        title: What it shows.
        parts: Its columns, from the left.
        scores: The scores that are measured for it unless others are named.
        groups: Title and methods, between bars, of its published rows as it groups and orders them.
    """

    number: int
    title: str
    parts: tuple[Part, ...]
    scores: tuple[str, ...]
    groups: tuple[tuple[str, str], ...] = ()


_FISHYSCAPES = (Part("fishyscapes_lost_and_found", "FS L&F", _PIXEL), Part("fishyscapes_static", "FS Static", _PIXEL))
_TABLES = (
    PaperTable(
        1,
        "dense anomaly detection on SegmentMeIfYouCan and Fishyscapes",
        (
            Part("smiyc_anomaly", "Anomaly", _PIXEL),
            Part("smiyc_obstacle", "Obstacle", _PIXEL),
            Part("smiyc_lost_and_found_no_known", "LAF-noKnown", _PIXEL, ("lost_and_found",)),
            *_FISHYSCAPES,
            Part("cityscapes", "CS val", (MEAN_IOU,)),
        ),
        ("hybrid", "max_softmax"),
        (
            (
                _WITHOUT,
                "Image Resyn. | Road Inpaint. | Max softmax | MC Dropout | ODIN | SML | Embed. Dens. | JSRNet | "
                "SynDenseHybrid",
            ),
            (_WITH, "SynBoost | Prior Entropy | OOD head | Void Classifier | Dirichlet prior | DenseHybrid"),
        ),
    ),
    PaperTable(
        2,
        "RoadAnomaly and Fishyscapes val",
        (Part("road_anomaly", "RoadAnomaly", _PIXEL), *_FISHYSCAPES),
        _COMMON,
        (
            (_WITHOUT, "Max softmax | Max logit | SML | SynthCP | Density | SynDenseHybrid"),
            (_WITH, "SynBoost | OOD head | Energy | DenseHybrid"),
        ),
    ),
    PaperTable(
        3,
        "Cityscapes val with its void classes as unknown",
        (Part("cityscapes_void", "", (AUROC,), ("cityscapes",)),),
        ("hybrid", "max_softmax", "entropy"),
        (
            (
                _WITHOUT,
                "Max softmax | Entropy | OpenMax | C2AE | ODIN | MC dropout | GDM | GMM | K+1 classifier | "
                "OpenGAN-O | OpenGAN | SynDenseHybrid",
            ),
        ),
    ),
    PaperTable(
        4,
        "StreetHazards: anomaly detection and open-set segmentation",
        (Part("street_hazards", "", (AP, FPR95, AUROC, MEAN_IOU, MEAN_F1, OPEN_MEAN_IOU, GAP)),),
        ("hybrid", "max_softmax", "energy", "oh", "oh_msp"),
        (
            (_WITHOUT, "SynthCP | Dropout | TRADI | SO+H | DML | Max softmax | ODIN | ReAct | SynDenseHybrid"),
            (_WITH, "Energy | OE | OH | OH*MSP | DenseHybrid"),
        ),
    ),
    PaperTable(
        5,
        "components of the hybrid score on Fishyscapes val",
        _FISHYSCAPES,
        ("posterior", "likelihood", "hybrid"),
        (
            (_WITH, "dataset posterior alone | unnormalised likelihood alone | hybrid"),
            (
                "trained with synthetic negatives",
                "dataset posterior alone, synthetic negatives | "
                "unnormalised likelihood alone, synthetic negatives | hybrid, synthetic negatives",
            ),
            ("density of a flow on pre-logits, real negatives", "flow on pre-logits | posterior / flow on pre-logits"),
        ),
    ),
    PaperTable(
        _BY_DISTANCE,
        "LostAndFound test by distance from the camera",
        (Part("lost_and_found", "", _PIXEL),),
        ("hybrid", "max_softmax", "max_logit"),
    ),
)
PAPER_TABLES = {table.number: table for table in _TABLES}
"""Number -> table."""


def open_parts(table: PaperTable, root: Path) -> tuple[dict[str, EvaluationSet], list[str]]:
    """Opens the data sets of a table that lie in ``root``, each in a folder of its registry name.

    Returns:
        Name -> data set, and for each set that can't be opened a line that names its folder.

    Raises:
        InputError: None of them is there.
    """
    found: dict[str, EvaluationSet] = {}
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


def header(table: PaperTable) -> list[str]:
    """Names of the columns with figures."""
    return [f"{part.label} {figure}".strip() for part in table.parts for figure in part.figures]


def row_groups(table: PaperTable, results: Sequence[EvaluationResult]) -> list[tuple[str, list[Row]]]:
    """Our rows, one for each model and score, then the paper's in its groups and order."""
    columns = [(part.dataset, figure) for part in table.parts for figure in part.figures]
    ours: list[Row] = []
    for model in dict.fromkeys(result.model for result in results):
        measured = {result.dataset: result for result in results if result.model == model}
        for score in dict.fromkeys(name for result in measured.values() for name in result.rows) or [model]:
            figures = [_measured(measured.get(dataset), score, figure) for dataset, figure in columns]
            ours.append((_row_name(model, score), figures, OURS))
    source = f"paper, table {table.number}"
    cells: dict[tuple[str, str, str], float] = {}
    for part in table.parts:
        for row in PROTOCOLS[part.dataset].published:
            if row.source.startswith(source):
                cells |= {(row.method, part.dataset, figure): value for figure, value in row.figures.items()}
    groups: list[tuple[str, list[Row]]] = [(OURS, ours)]
    for title, methods in table.groups:
        rows = [(who, [cells.get((who, *column)) for column in columns], source) for who in methods.split(" | ")]
        groups.append((f"{source}, {title}", rows))
    return groups


def _row_name(model: str, score: str) -> str:
    """Names a row of ours; the scores of others have one name for both."""
    return score if score.startswith(model) else f"{model} {score}"


def _measured(result: EvaluationResult | None, score: str, figure: str) -> float | None:
    if result is None:
        return None
    found = result.figures(score).get(figure)
    if found is None and figure == MEAN_IOU and not score.endswith(BINNED):  # of the closed set, whatever the score
        found = 100 * result.mean_iou
    return None if found is None or math.isnan(found) else found


def _layout(table: PaperTable, results: Sequence[EvaluationResult]) -> tuple[str, list[TextPart], list[Group]]:
    """The table as it is shown: name of the first column, columns under headings, groups of rows."""
    if table.number == _BY_DISTANCE:
        return _layout_by_distance(results)
    groups = [
        (title, [(who, [percent(value) for value in figures]) for who, figures, _ in rows])
        for title, rows in row_groups(table, results)
    ]
    return "method", [(part.label, part.figures) for part in table.parts], groups


def _layout_by_distance(results: Sequence[EvaluationResult]) -> tuple[str, list[TextPart], list[Group]]:
    parts: list[TextPart] = []
    columns: list[list[float]] = []
    for result in results:
        for score, bins in result.distances.items():
            parts.append((_row_name(result.model, score), _PIXEL))
            columns += [[100 * item.average_precision for item in bins], [100 * item.fpr95 for item in bins]]
    for method, figures in published_bins(results[0]).items():
        parts.append((method, _PIXEL))
        columns += [[pair[place] for pair in figures] for place in (0, 1)]
    rows = [
        (f"{low:g} to {high:g}", [percent(column[index]) for column in columns])
        for index, (low, high) in enumerate(pairwise(results[0].edges))
    ]
    return "distance [m]", parts, [("", rows)]


def page_table(table: PaperTable, results: Sequence[EvaluationResult]) -> dict[str, object]:
    """The table as ``evaluation.report`` shows it."""
    corner, parts, groups = _layout(table, results)
    title = f"Table {table.number}: {table.title}"
    return {"title": title, "corner": corner, "parts": parts, "groups": groups, "dash": DASH}


def format_paper_table(table: PaperTable, results: Sequence[EvaluationResult]) -> str:
    """Lays the table out for a terminal, with what a reader must know below it."""
    parts = [f"table {table.number}: {table.title}", f"{format_groups(*_layout(table, results))}\n{DASH}"]
    for result in results:
        where = f"{result.dataset}: {result.model}, {result.frames} frames in {result.seconds:.1f} s on {result.device}"
        parts.append("\n".join([where, *(f"  {line}" for line in notes(result))]))
    return "\n\n".join(parts)


def paper_table_csv(table: PaperTable, results: Sequence[EvaluationResult]) -> str:
    """Writes the table as CSV (percent, empty where nothing is known)."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    if table.number == _BY_DISTANCE:
        corner, parts, groups = _layout(table, results)
        writer.writerow([corner, *(f"{heading} {figure}" for heading, figures in parts for figure in figures)])
        rows = [[who, *cells] for _, found in groups for who, cells in found]
        writer.writerows([["" if cell == "-" else cell for cell in row] for row in rows])
        return stream.getvalue()
    writer.writerow(["method", *header(table), "from"])
    for _, group in row_groups(table, results):
        for who, figures, origin in group:
            writer.writerow([who, *("" if value is None else f"{value:.6f}" for value in figures), origin])
    return stream.getvalue()
