# SPDX-License-Identifier: Apache-2.0
"""The page of a drive at all settings: one file that works offline, with a live slider of the threshold."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from densehybrid_ros.datasets.pictures import write_picture
from densehybrid_ros.evaluation.kept_drive import KeptDrive
from densehybrid_ros.evaluation.tuning import CLEAN, Grid, Tuning, condensed
from densehybrid_ros.files import write_text_atomically
from densehybrid_ros.hazards.ego_mask import is_polygon
from densehybrid_ros.hazards.hazard import Hazard
from densehybrid_ros.hazards.picture import LEVEL_COLORS
from densehybrid_ros.pages import render
from densehybrid_ros.pages.charts import Axis, Series, legend, line_chart, marker, round_up
from densehybrid_ros.perception.settings import PARAMETERS, Settings

_LEVELS_WIDTH = 512
_SWEPT = ("anomaly_threshold", "threshold_name", "min_hazard_area", "trigger_count", "ego_mask")
_SHARES = ("precision", "recall", "obstacles found")


def write_tune_page(
    page: Path, tuning: Tuning, drive: KeptDrive, settings: Settings, name: str, model: str, are_single: bool = False
) -> None:
    """Writes the page of the recording ``name``, and the proposed ego mask beside it.

    Of pictures that ``are_single`` and no drive, rates by time say nothing.

    Raises:
        OutputError: A file can't be written.
    """
    mask, pixels = None, None
    if tuning.mask is not None:
        mask = page.with_name("ego_mask.png" if page.name == "index.html" else f"{page.stem}_ego_mask.png")
        pixels = np.where(tuning.mask, np.uint8(255), np.uint8(0))
        write_picture(mask, pixels)
    shown = [kept for kept in drive.frames if kept.jpeg is not None]
    scored = [kept.frame() for kept in shown]
    first = scored[0]
    height, width = first.score.shape
    own, grid = tuning.own, tuning.grid
    figures = tuning.sweeps[0].figures[own]
    rows = [condensed(sweep.figures[key]) for sweep in tuning.sweeps for key in grid.settings()]
    is_judged = figures.false_alarms is not None
    hazards = [
        [[_hazard(item) for item in told[key].hazards] for told in sweep.shown]
        for sweep in tuning.sweeps
        for key in grid.settings()
    ]
    proposals = [
        tuning.proposal(area, trigger, bool(masked))
        for masked, area, trigger in product(range(len(tuning.sweeps)), grid.areas, grid.triggers)
    ]
    axis = _axis(grid.thresholds)
    data = {
        "name": name,
        "size": [width, height],
        "times": [float(i) if are_single else round(item.time - first.time, 3) for i, item in enumerate(scored)],
        "frames": [[kept.jpeg, _levels(item.score, grid)] for kept, item in zip(shown, scored, strict=True)],
        "truth": [[sighted.box for sighted in item.truth.obstacles] if item.truth else [] for item in scored],
        "thresholds": [repr(value) for value in grid.thresholds],
        "areas": grid.areas,
        "triggers": grid.triggers,
        "masks": len(tuning.sweeps),
        "own": [values.index(value) for values, value in zip(grid, own, strict=True)],
        "figures": rows,
        "proposals": [None if value is None else grid.thresholds.index(value) for value in proposals],
        "charts": _charts(tuning, rows, axis, are_single, is_judged),
        "markers": [marker(axis, value) for value in grid.thresholds],
        "colors": [f"rgb{LEVEL_COLORS[level]}" for level in sorted(LEVEL_COLORS)],
        "mask": None if pixels is None else _png(pixels),
        "parameters": _given(settings),
        "maskLines": _mask_lines(settings, mask),
        "areSingle": are_single,
        "isJudged": is_judged,
        "packed": zlib.compress(json.dumps(hazards, separators=(",", ":")).encode(), 6),
    }
    length = f"{len(drive.frames)} pictures" if are_single else f"{len(drive.frames)} frames, {figures.minutes:.2f} min"
    way = "" if figures.kilometres is None else f", {figures.kilometres:.2f} km"
    kind = "without obstacles" if tuning.by == CLEAN else "labelled" if tuning.by else "not labelled"
    about = f"{name}: {length}{way}, {kind} · model {model}"
    lines = _SHARES[: 3 if figures.first_alert else 2] if is_judged and tuning.by != CLEAN else ()
    values = {"about": about, "proposal": tuning.proposal_text(), "data": data, "legend": legend(lines)}
    write_text_atomically(page, render("tune.html", title="Find your threshold", **values))


def _axis(thresholds: tuple[float, ...]) -> Axis:
    low, high = thresholds[0], thresholds[-1]
    return Axis("threshold [nats]", low, high if high > low else low + 1.0)


def _hazard(hazard: Hazard) -> list[float]:
    region, distance = hazard.region, hazard.distance
    where = -1 if distance is None else round(distance, 1)
    box = region.left, region.top, region.width, region.height
    return [hazard.id, *box, where, int(hazard.level), hazard.missed]


def _levels(score: np.ndarray, grid: Grid) -> bytes:
    """A small map: how many thresholds each pixel exceeds."""
    height, width = score.shape
    columns = min(width, _LEVELS_WIDTH)
    size = columns, max(1, round(height * columns / width))
    small = cv2.resize(score, size, interpolation=cv2.INTER_NEAREST_EXACT)
    return _png(np.searchsorted(np.array(grid.thresholds, np.float32), small).astype(np.uint8))


def _png(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()


def _charts(
    tuning: Tuning, rows: Sequence[Mapping[str, Any]], axis: Axis, are_single: bool, is_judged: bool
) -> list[list[str]]:
    """For each mask, area and count: the chart of the rate, and with labels that of precision and recall."""
    grid, what = tuning.grid, "false alarms" if is_judged else "hazards"
    key, label = what.replace(" ", "_"), what
    if not are_single:
        key, label = f"{key}_per_minute", f"{what} a minute"
    minutes = tuning.sweeps[0].figures[tuning.own].minutes
    highest = round_up(max([row[key] or 0.0 for row in rows] + [1.0]))
    lowest = 10.0 ** np.floor(np.log10(0.3 / minutes if minutes and not are_single else 0.3))
    rates = Axis(label, lowest, float(10 ** np.ceil(np.log10(highest))), log=True)
    each = len(grid.areas) * len(grid.triggers)  # settings of one threshold
    one_mask = each * len(grid.thresholds)
    made = []
    for begin, place in product(range(0, len(rows), one_mask), range(each)):
        column = rows[begin + place : begin + one_mask : each]
        line = Series(label, grid.thresholds, [row[key] or 0.0 for row in column])
        charts = [line_chart(f"{label} (0 at the bottom)", axis, rates, [line])]
        if is_judged and tuning.by != CLEAN:
            shares = [[row["precision"] for row in column], [row["recall"] for row in column]]
            if any(row["obstacles"] for row in column):
                shares.append([row["obstacles_found"] / row["obstacles"] for row in column])
            series = [
                Series(name, grid.thresholds, [np.nan if value is None else value for value in values])
                for name, values in zip(_SHARES, shares, strict=False)
            ]
            charts.append(line_chart("against the labels", axis, Axis("share", 0.0, 1.0), series))
        made.append(charts)
    return made


def _given(settings: Settings) -> list[str]:
    """Lines of a parameter file: what differs from the defaults, but for the parameters that are tuned."""
    lines = []
    for name, row in PARAMETERS.items():
        value = getattr(settings, name)
        if name == "model" and Path(value).is_file():
            value = str(Path(value).resolve())
        if name not in _SWEPT and value != row.default:
            lines.append(f"{name}: {json.dumps(value)}")
    return lines


def _mask_lines(settings: Settings, mask: Path | None) -> list[str]:
    """The line of the ego mask without and with the proposed one."""
    own: Path | str = settings.ego_mask
    if own and not is_polygon(settings.ego_mask):
        own = Path(own).expanduser().absolute()
    return [f"ego_mask: {json.dumps(str(path))}" for path in (own, mask.absolute() if mask else own)]
