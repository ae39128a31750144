# SPDX-License-Identifier: Apache-2.0
"""The page of a drive: pictures in folders, and one HTML file that steps through them without any network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from densehybrid_ros.datasets.pictures import write_picture
from densehybrid_ros.datasets.taxonomy import VOID, SemanticClass, color_table
from densehybrid_ros.demo.answers import AnsweredFrame
from densehybrid_ros.demo.figures import DriveFigures
from densehybrid_ros.files import make_folder, write_text_atomically
from densehybrid_ros.hazards.hazard import Level
from densehybrid_ros.hazards.picture import draw_marks
from densehybrid_ros.pages import render
from densehybrid_ros.perception.alert import Alert
from densehybrid_ros.perception.overlay import alert_marks

_ROLES = ("camera", "semantic", "score", "open_set", "overlay")
_JPEG_QUALITY = 92
_CLASS_MAP_WIDTH, _SCORE_MAP_WIDTH = 256, 128
_LONGEST_RUN = 255
UNKNOWN_COLOR = (0, 229, 255)
"""Colour of unknown pixels in the pictures (red, green, blue): none of the classes comes near it."""

_SEMANTIC_OPACITY = 0.62
_DIMMED_OPACITY = 0.30
_UNKNOWN_OPACITY = 0.80
_COLOR_MAP = cv2.COLORMAP_INFERNO


class DrivePage:
    """Writes the pictures frame by frame, then the page."""

    def __init__(
        self, folder: Path, classes: tuple[SemanticClass, ...], threshold: float, score_range: tuple[float, float]
    ) -> None:
        """Makes the folders.

        Args:
            folder: Where the page goes.
            classes: Class table of the model; the id behind the last one is unknown.
            threshold: Anomaly threshold in nats.
            score_range: Scores of the darkest and the brightest colour.
        """
        self._folder, self._classes = folder, classes
        self._threshold, self._range = threshold, score_range
        self._colors = color_table(classes)
        self._frames: list[dict[str, Any]] = []
        self._size = (1, 1)
        for role in _ROLES:
            make_folder(folder / role)

    def add(self, answered: AnsweredFrame, latency_ms: float | None) -> None:
        """Writes the pictures of a frame; ``latency_ms`` passed from its sending to its alert, None without one."""
        made = self._pictures(answered)
        for role, picture in made.items():
            write_picture(self._folder / role / f"{len(self._frames) + 1:04}.jpg", picture, _JPEG_QUALITY)
        self._size = answered.frame.image.shape[1], answered.frame.image.shape[0]
        self._frames.append(
            {
                "time": answered.frame.stamp / 1e9,
                "roles": list(made),
                "latency": None if latency_ms is None else round(latency_ms, 1),
                **_alert_entries(answered.alert, latency_ms),
                **self._map_entries(answered),
            }
        )

    def finish(self, title: str, about: str, figures: DriveFigures, listing: dict[str, str]) -> Path:
        """Writes the page and returns its path; ``about`` is a line below the title, ``listing`` files beside it."""
        first = self._frames[0]["time"] if self._frames else 0.0
        for frame in self._frames:
            frame["time"] = round(frame["time"] - first, 4)
        data = {
            "about": about,
            "figures": _figure_cards(figures),
            "files": list(listing.items()),
            "size": self._size,
            "classes": [{"name": item.name, "color": item.color} for item in self._classes],
            "unknown": {"color": UNKNOWN_COLOR},
            "score": {
                "range": list(self._range),
                "threshold": self._threshold,
                "colors": color_map(),
                "map": _map_size(self._size, _SCORE_MAP_WIDTH),
            },
            "map": _map_size(self._size, _CLASS_MAP_WIDTH),
            "frames": self._frames,
        }
        page = self._folder / "index.html"
        write_text_atomically(page, render("demo.html", title=title, data=data))
        return page

    def _pictures(self, answered: AnsweredFrame) -> dict[str, np.ndarray]:
        image = np.ascontiguousarray(answered.frame.image)
        made = {"camera": image}
        if answered.semantic is not None:
            made["semantic"] = semantic_picture(image, answered.semantic, self._colors)
        if answered.score is not None:
            made["score"] = score_picture(answered.score, *self._range)
        if answered.open_set is not None:
            made["open_set"] = open_set_picture(image, answered.open_set, len(self._classes), self._colors)
            draw_marks(made["open_set"], alert_marks(answered.alert) if answered.alert else [])
        if answered.overlay is not None:
            made["overlay"] = answered.overlay
        return made

    def _map_entries(self, answered: AnsweredFrame) -> dict[str, Any]:
        """Returns small maps for the pointer: classes run by run, scores in 256 steps."""
        if answered.semantic is None or answered.score is None or answered.open_set is None:
            return {}
        classes = _subsample(answered.semantic, _map_size(self._size, _CLASS_MAP_WIDTH))
        scores = _subsample(answered.score, _map_size(self._size, _SCORE_MAP_WIDTH))
        return {
            "classes": run_lengths(classes).tobytes(),
            "score": quantize(scores, *self._range).tobytes(),
            "unknown": round(float(np.mean(answered.open_set == len(self._classes))), 6),
        }


def run_lengths(ids: np.ndarray) -> np.ndarray:
    """Writes ids, read row by row, as pairs of (id, length), lengths up to 255; uint8."""
    flat = ids.ravel()
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    lengths = np.diff(np.append(starts, flat.size))
    pieces = -(-lengths // _LONGEST_RUN)
    values = np.repeat(flat[starts], pieces)
    counts = np.full(values.size, _LONGEST_RUN)
    counts[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * _LONGEST_RUN
    return np.column_stack((values, counts)).astype(np.uint8)


def _alert_entries(alert: Alert | None, latency_ms: float | None) -> dict[str, Any]:
    if alert is None:
        return {"state": "missing", "message": "the node did not answer this frame", "chips": [], "box": None}
    chips, box, values = [], None, alert.summary.values
    if alert.level > Level.OK:
        shown = (
            ("regions", "hazard_count", ""),
            ("area", "hazard_area_px", " px"),
            ("peak score", "largest_peak_score", ""),
        )
        chips = [[name, _short(values[entry]) + unit] for name, entry, unit in shown if entry in values]
    if latency_ms is not None:
        chips.append(["latency", f"{latency_ms:.0f} ms"])
    if "largest_left" in values:
        box = [int(values[f"largest_{side}"]) for side in ("left", "top", "width", "height")]
    state = "alert" if alert.level > Level.OK else "clear"
    return {"state": state, "message": alert.summary.message, "chips": chips, "box": box}


def _short(number: str) -> str:
    return f"{float(number):.1f}" if "." in number else number


def _figure_cards(figures: DriveFigures) -> list[list[str]]:
    """Returns (name, figure, remark) of what is shown at the top of the page."""
    cards = [
        ["frames sent", str(figures.sent), ""],
        ["processed", str(figures.processed), figures.lost],
        ["alerts", str(figures.alerts), f"of {figures.answered} frames"],
    ]
    if figures.latency_median_ms is not None:
        cards.append(["latency", f"{figures.latency_median_ms:.0f} ms", f"p95 {figures.latency_p95_ms:.0f} ms"])
    if figures.truth:
        truth = figures.truth.to_dict()
        remark = f"of {truth['objects']}"
        if truth["first_alert_distance_m"] is not None:
            remark += f", first at {truth['first_alert_distance_m']:.0f} m"
        cards.append(["unknown objects alerted", str(truth["objects_alerted"]), remark])
    return cards


def _map_size(size: tuple[int, int], width: int) -> dict[str, int]:
    width = min(width, size[0])
    return {"width": width, "height": max(1, round(width * size[1] / size[0]))}


def _subsample(values: np.ndarray, size: dict[str, int]) -> np.ndarray:
    return cv2.resize(values, (size["width"], size["height"]), interpolation=cv2.INTER_NEAREST_EXACT)


def semantic_picture(image: np.ndarray, ids: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Lays class colours over the camera picture.

    Args:
        image: uint8 RGB [H, W, 3].
        ids: uint8 [H, W], train ids.
        colors: uint8 [256, 3], colour of every id.

    Returns:
        uint8 RGB [H, W, 3]; pixels without a class show the picture in grey.
    """
    blended = _blend(image, colors[ids], _SEMANTIC_OPACITY)
    return np.where((ids == VOID)[..., None], _gray(image), blended)


def open_set_picture(image: np.ndarray, ids: np.ndarray, unknown: int, colors: np.ndarray) -> np.ndarray:
    """Shows what is unknown, outlined and in one bright colour over the dimmed classes.

    Args:
        image: uint8 RGB [H, W, 3].
        ids: uint8 [H, W], train ids with ``unknown`` among them.
        unknown: The id of unknown pixels.
        colors: uint8 [256, 3], colour of every id.
    """
    is_unknown = ids == unknown
    dimmed = _blend(_gray(image), colors[np.where(is_unknown, VOID, ids)], _DIMMED_OPACITY)
    dimmed = cv2.convertScaleAbs(dimmed, alpha=0.78)
    marked = _blend(image, np.full_like(image, UNKNOWN_COLOR), _UNKNOWN_OPACITY)
    picture = np.where(is_unknown[..., None], marked, dimmed)
    outlines, _ = cv2.findContours(is_unknown.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    thickness = max(1, round(image.shape[1] / 1000))
    return cv2.drawContours(picture, outlines, -1, (255, 255, 255), thickness, cv2.LINE_AA)


def score_picture(score: np.ndarray, low: float, high: float) -> np.ndarray:
    """Shows a score as a colour map from ``low`` (black) to ``high`` (bright).

    Args:
        score: float32 [H, W].
        low: The score of the darkest colour; what lies below looks the same.
        high: The score of the brightest colour, above ``low``.

    Returns:
        uint8 RGB [H, W, 3].
    """
    return cv2.applyColorMap(quantize(score, low, high), _COLOR_MAP)[..., ::-1]


def quantize(score: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns uint8 [H, W]: 0 at ``low`` and below, 255 at ``high`` and above; NaN becomes 0."""
    steps = (score - low) * (255.0 / (high - low))
    return np.clip(np.nan_to_num(steps, nan=0.0) + 0.5, 0, 255).astype(np.uint8)


def color_map() -> list[str]:
    """Returns the 256 colours of ``score_picture`` as #rrggbb, from low to high."""
    ramp = cv2.applyColorMap(np.arange(256, dtype=np.uint8).reshape(1, -1), _COLOR_MAP)[0, :, ::-1]
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in ramp.tolist()]


def _gray(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _blend(below: np.ndarray, above: np.ndarray, opacity: float) -> np.ndarray:
    return cv2.addWeighted(np.ascontiguousarray(below), 1.0 - opacity, above, opacity, 0.0)
