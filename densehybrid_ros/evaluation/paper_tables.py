"""The tables of the paper: which data sets and figures each has, ours laid out beside its published rows."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from densehybrid_ros.datasets.evaluation_set import EvaluationSet
from densehybrid_ros.datasets.registry import open_evaluation_set
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.protocols import (
    AP,
    AUROC,
    FPR95,
    GAP,
    MEAN_F1,
    MEAN_IOU,
    OPEN_MEAN_IOU,
    PROTOCOLS,
)
from densehybrid_ros.evaluation.results import BINNED, EvaluationResult, distance_rows, format_table, notes, percent

OURS = "measured"
"""What stands in a table's last column beside our own rows."""


@dataclass(frozen=True)
class Part:
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


@dataclass(frozen=True)
class PaperTable:
    """One table of the paper.

    Attributes:
        number: Its number there.
        title: What it shows.
        parts: Its columns, from the left.
        scores: The scores that are measured for it unless others are named.
    """

    number: int
    title: str
    parts: tuple[Part, ...]
    scores: tuple[str, ...]


_PIXEL = (AP, FPR95)
_COMMON = ("hybrid", "max_softmax", "max_logit", "energy")
PAPER_TABLES: dict[int, PaperTable] = {
    table.number: table
    for table in (
        PaperTable(
            1,
            "dense anomaly detection on SegmentMeIfYouCan and Fishyscapes",
            (
                Part("smiyc_anomaly", "Anomaly", _PIXEL),
                Part("smiyc_obstacle", "Obstacle", _PIXEL),
                Part("smiyc_lost_and_found_no_known", "LAF-noKnown", _PIXEL, ("lost_and_found",)),
                Part("fishyscapes_lost_and_found", "FS L&F", _PIXEL),
                Part("fishyscapes_static", "FS Static", _PIXEL),
                Part("cityscapes", "CS val", (MEAN_IOU,)),
            ),
            ("hybrid", "max_softmax"),
        ),
        PaperTable(
            2,
            "RoadAnomaly and Fishyscapes val",
            (
                Part("road_anomaly", "RoadAnomaly", _PIXEL),
                Part("fishyscapes_lost_and_found", "FS L&F", _PIXEL),
                Part("fishyscapes_static", "FS Static", _PIXEL),
            ),
            _COMMON,
        ),
        PaperTable(
            3,
            "Cityscapes val with its void classes as unknown",
            (Part("cityscapes_void", "", (AUROC,), ("cityscapes",)),),
            ("hybrid", "max_softmax", "entropy"),
        ),
        PaperTable(
            4,
            "StreetHazards: anomaly detection and open-set segmentation",
            (Part("street_hazards", "", (AP, FPR95, AUROC, MEAN_IOU, MEAN_F1, OPEN_MEAN_IOU, GAP)),),
            ("hybrid", "max_softmax", "energy", "oh", "oh_msp"),
        ),
        PaperTable(
            5,
            "components of the hybrid score on Fishyscapes val",
            (
                Part("fishyscapes_lost_and_found", "FS L&F", _PIXEL),
                Part("fishyscapes_static", "FS Static", _PIXEL),
            ),
            ("posterior", "likelihood", "hybrid"),
        ),
        PaperTable(
            6,
            "LostAndFound test by distance from the camera",
            (Part("lost_and_found", "", _PIXEL),),
            ("hybrid", "max_softmax", "max_logit"),
        ),
    )
}
"""Number -> table."""


def open_parts(table: PaperTable, root: Path) -> tuple[dict[str, EvaluationSet], list[str]]:
    """Opens the data sets of a table that are there.

    Args:
        table: The table.
        root: Folder that holds the sets, each in a folder of its registry name.

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


Row = tuple[str, list[float | None], str]
"""Who, a figure in percent (None: not known) for each column, where it comes from."""


def header(table: PaperTable) -> list[str]:
    """Names of the columns with figures."""
    return [f"{part.label} {figure}".strip() for part in table.parts for figure in part.figures]


def table_rows(table: PaperTable, results: Sequence[EvaluationResult]) -> list[Row]:
    """Our rows, one a score, then the paper's."""
    measured = {result.dataset: result for result in results}
    scores = list(dict.fromkeys(name for result in results for name in result.rows)) or [results[0].model]
    columns = [(part.dataset, figure) for part in table.parts for figure in part.figures]
    ours: list[Row] = [
        (score, [_measured(measured.get(dataset), score, figure) for dataset, figure in columns], OURS)
        for score in scores
    ]
    return ours + _published(table, columns)


def _measured(result: EvaluationResult | None, score: str, figure: str) -> float | None:
    if result is None:
        return None
    found = result.figures(score).get(figure)
    if found is None and figure == MEAN_IOU and not score.endswith(BINNED):  # of the closed set, whatever the score
        found = 100 * result.mean_iou
    return None if found is None or math.isnan(found) else found


def _published(table: PaperTable, columns: Sequence[tuple[str, str]]) -> list[Row]:
    source = f"paper, table {table.number}"
    found: dict[str, dict[tuple[str, str], float]] = {}
    for part in table.parts:
        for row in PROTOCOLS[part.dataset].published:
            if row.source.startswith(source):
                cells = found.setdefault(row.method, {})
                cells |= {(part.dataset, figure): value for figure, value in row.figures.items()}
    return [(method, [cells.get(column) for column in columns], source) for method, cells in found.items()]


def format_paper_table(table: PaperTable, results: Sequence[EvaluationResult]) -> str:
    """Lays the table out for a terminal, with what a reader must know below it."""
    parts = [f"table {table.number}: {table.title}"]
    if table.number == 6:
        parts.append(format_table(*distance_rows(results[0])))
    else:
        rows = [[who, *map(percent, figures), origin] for who, figures, origin in table_rows(table, results)]
        parts.append(format_table(["method", *header(table), "from"], rows))
    for result in results:
        where = f"{result.dataset}: {result.frames} frames in {result.seconds:.1f} s on {result.device}"
        parts.append("\n".join([where, *(f"  {line}" for line in notes(result))]))
    return "\n\n".join(parts)


def paper_table_csv(table: PaperTable, results: Sequence[EvaluationResult]) -> str:
    """Writes the table as CSV (percent, empty where nothing is known)."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    if table.number == 6:
        head, rows = distance_rows(results[0])
        writer.writerow(head)
        writer.writerows([["" if cell == "-" else cell for cell in row] for row in rows])
        return stream.getvalue()
    writer.writerow(["method", *header(table), "from"])
    for who, figures, origin in table_rows(table, results):
        writer.writerow([who, *("" if value is None else f"{value:.6f}" for value in figures), origin])
    return stream.getvalue()
