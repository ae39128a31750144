# SPDX-License-Identifier: Apache-2.0
"""One drive at many settings: the network runs once a frame, and the hazard stage judges at each setting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from densehybrid_ros.bags.topics import BagTopics
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.hazard_figures import Braking, FrameTruth, HazardAccumulator, HazardFigures
from densehybrid_ros.evaluation.replay import Answer, Drives, check_answer, frame_truth
from densehybrid_ros.hazards.chain import HazardChain
from densehybrid_ros.hazards.ego_mask import EgoMask
from densehybrid_ros.hazards.hazard import HazardFrame
from densehybrid_ros.networks import ModelCard
from densehybrid_ros.perception.perception import Frame, frame_alert
from densehybrid_ros.perception.settings import Settings


class Setting(NamedTuple):
    """Values of three parameters."""

    threshold: float
    min_hazard_area: int
    trigger_count: int


class Grid(NamedTuple):
    """The values whose combinations are swept: thresholds in nats, areas in pixels, counts of frames."""

    thresholds: tuple[float, ...]
    areas: tuple[int, ...]
    triggers: tuple[int, ...]

    def settings(self) -> list[Setting]:
        """All combinations."""
        return [Setting(*values) for values in product(*self)]


@dataclass(frozen=True)
class ScoredDriveFrame:
    """A frame of a drive as the hazard stage and its judge need it.

    Attributes:
        time: Seconds, by the recording's clock.
        known: What is known at it; of its image the shape alone counts.
        semantic: uint8 [H, W], train ids.
        score: float32 [H, W] in nats; what lies below all thresholds may have any value below them.
        truth: What is labelled; None: nothing.
    """

    time: float
    known: Frame
    semantic: np.ndarray
    score: np.ndarray
    truth: FrameTruth | None


class ThresholdSweep:
    """Judges a drive at all settings of a grid; each comes out as a replay at that setting.

    Args:
        card: Of the model: classes and confidence.
        settings: All other parameters.
        grid: The settings.
        edges: Distance bins in metres.
        braking: For the table by speed.
        ego_mask: Takes the place of the parameter's.
    """

    def __init__(
        self,
        card: ModelCard,
        settings: Settings,
        grid: Grid,
        edges: Sequence[float],
        braking: Braking | None = None,
        ego_mask: EgoMask | None = None,
    ) -> None:
        own, self._card, self.grid = settings.hazards, card, grid
        self._settings = {
            (area, trigger): replace(
                own, min_hazard_area=area, trigger_count=trigger, ego_mask=ego_mask or own.ego_mask
            )
            for area, trigger in product(grid.areas, grid.triggers)
        }
        self._figures = {key: HazardAccumulator(edges, braking or Braking()) for key in grid.settings()}
        self.begin("")

    def begin(self, drive: str) -> None:
        """Turns to the next drive: all tracks start over."""
        known = self._card.classes, self._card.confidence, self._card.region_classifier
        self._finder = HazardChain(*known)
        self._chains = {key: HazardChain(*known) for key in self._figures}
        for figures in self._figures.values():
            figures.begin(drive)

    def update(self, frame: ScoredDriveFrame) -> dict[Setting, HazardFrame]:
        """Takes in a frame and returns what the hazard stage says about it at each setting."""
        told, known = {}, frame.known
        camera = known.placed_camera
        disparity = known.disparity.pixels if known.disparity is not None and camera is not None else None
        for threshold, area in product(self.grid.thresholds, self.grid.areas):
            settings = self._settings[area, self.grid.triggers[0]]
            unknown = frame.score > threshold
            found = self._finder.detect(frame.semantic, frame.score, unknown, threshold, settings, camera, disparity)
            for trigger in self.grid.triggers:
                key = Setting(threshold, area, trigger)
                hazards = self._chains[key].track(known.stamp, found, self._settings[area, trigger], known.ego_speed)
                alert = frame_alert(known, hazards, (*known.problems, *hazards.problems), threshold)
                self._figures[key].update(frame.time, alert, known.ego_speed, frame.truth)
                told[key] = hazards
        return told

    def merge(self, other: ThresholdSweep) -> None:
        """Adds the drives of another process."""
        for key, figures in self._figures.items():
            figures.merge(other._figures[key])

    def compute(self) -> dict[Setting, HazardFigures]:
        """Returns the figures of each setting."""
        return {key: figures.compute() for key, figures in self._figures.items()}


class ThresholdReplay(Drives):
    """Replays drives at several thresholds; the replays of several processes merge."""

    def __init__(self, sweep: ThresholdSweep, bags: list[Path]) -> None:
        super().__init__(bags)
        self.sweep = sweep

    def begin(self, bag: int) -> None:
        """Turns to the next bag: its number in ``bags``."""
        super().begin(bag)
        self.sweep.begin(self.drive_name())

    def add(self, answer: Answer, topics: BagTopics) -> None:
        """Takes in a frame, see ``Replay.add``."""
        check_answer(answer, self.path, topics)
        self.frames += 1
        self.sweep.update(scored_frame(answer))

    def merge(self, other: ThresholdReplay) -> None:  # type: ignore[override]
        """Adds the bags that another process has replayed."""
        super().merge(other)
        self.sweep.merge(other.sweep)

    def figures(self) -> dict[str, Any]:
        """Returns everything for JSON: a row a threshold."""
        rows = [{"threshold": key.threshold} | condensed(figures) for key, figures in self.sweep.compute().items()]
        left_out = [item.reason for item in self.left_out]
        return {"frames": self.frames, "left_out": left_out, "thresholds": rows}


def scored_frame(answer: Answer) -> ScoredDriveFrame:
    """Returns what the sweep needs of an answer."""
    time = answer.recorded.picture.time * 1e-9
    return ScoredDriveFrame(time, answer.known, answer.semantic, answer.score, frame_truth(answer)[2])


def condensed(figures: HazardFigures) -> dict[str, Any]:
    """Returns the figures of the alerts at one setting as one row; None where something is not known."""
    first = [distance for distance in figures.first_alert.values() if distance is not None]
    return {
        "hazards": figures.raised,
        "alerted_frames": figures.alerted_frames,
        "hazards_per_minute": figures.raised / figures.minutes if figures.minutes else None,
        "false_alarms": figures.false_alarms,
        "false_alarms_per_minute": figures.false_alarms_per_minute,
        "false_alarms_per_kilometre": figures.false_alarms_per_kilometre,
        "precision": figures.precision,
        "recall": figures.recall,
        "f1": figures.f1,
        "obstacles": len(figures.first_alert) or None,
        "obstacles_found": figures.obstacles_found if figures.first_alert else None,
        "first_alert_m": float(np.median(first)) if first else None,
    }


_COLUMNS = {
    "threshold": ("threshold", 2),
    "hazards": ("hazards", 0),
    "alerted_frames": ("frames alerted", 0),
    "false_alarms": ("false alarms", 0),
    "false_alarms_per_minute": ("a minute", 2),
    "false_alarms_per_kilometre": ("a kilometre", 2),
    "precision": ("precision", 3),
    "recall": ("recall", 3),
    "obstacles_found": ("found", 0),
    "obstacles": ("of", 0),
    "first_alert_m": ("first alert [m]", 1),
}


def threshold_rows(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table by threshold; columns of which nothing is known are left out.

    Args:
        rows: What ``condensed`` returned, each with its threshold.
    """
    used = {key: what for key, what in _COLUMNS.items() if any(row[key] is not None for row in rows)}
    cells = [
        ["-" if row[key] is None else f"{row[key]:.{digits}f}" for key, (_, digits) in used.items()] for row in rows
    ]
    return [name for name, _ in used.values()], cells


def sweep_thresholds(samples: np.ndarray, floor: float, own: Sequence[float], count: int) -> tuple[float, ...]:
    """Chooses thresholds midway between even steps of the score and even factors of the unknown pixels.

    Args:
        samples: Scores of a drive's pixels above ``floor``, a sample, its maximum among them.
        floor: The lowest threshold in nats.
        own: Thresholds that are swept as they are, those below ``floor`` left out.
        count: About how many there are.

    Returns:
        Rising round thresholds; no pixel exceeds the last.

    Raises:
        InputError: All scores are the same.
    """
    top = float(samples.max(initial=-math.inf))
    if not top > floor:
        raise InputError("no score varies over the drive: name the thresholds with --thresholds")
    step = 10.0 ** math.floor(math.log10((top - floor) / 50))
    by_share = np.quantile(samples, 1.0 - np.geomspace(1.0, 1e-4, count - 1))
    round_ones = np.floor((by_share + np.linspace(floor, top, count - 1)) / 2 / step) * step
    ends = [math.floor(floor / step) * step + step, math.floor(top / step) * step + step]
    digits = max(0, -math.floor(math.log10(step)))
    chosen = {round(float(value), digits) for value in (*round_ones[1:], *ends)} | set(own)
    return tuple(sorted(value for value in chosen if value >= floor))
