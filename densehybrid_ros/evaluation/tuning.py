# SPDX-License-Identifier: Apache-2.0
"""One drive at many settings: the network has run, the hazard stage judges at each, and a threshold is proposed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product, takewhile
from typing import Any, NamedTuple

import numpy as np

from densehybrid_ros.evaluation.ego_mask_proposal import EgoMaskProposal
from densehybrid_ros.evaluation.hazard_figures import Braking, HazardAccumulator, HazardFigures
from densehybrid_ros.evaluation.kept_drive import KeptDrive
from densehybrid_ros.hazards.chain import HazardChain
from densehybrid_ros.hazards.ego_mask import EgoMask
from densehybrid_ros.hazards.hazard import HazardFrame
from densehybrid_ros.hazards.settings import HazardSettings
from densehybrid_ros.networks import ModelCard
from densehybrid_ros.perception.perception import frame_alert
from densehybrid_ros.perception.settings import Settings
from densehybrid_ros.progress import progress

CLEAN, LABELS = "clean", "labels"
"""What a threshold is proposed by: the rate of false alarms of a drive without obstacles, or its labels."""


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


class Swept(NamedTuple):
    """A drive at all settings, with or without the proposed ego mask."""

    figures: dict[Setting, HazardFigures]  # by setting
    # what the hazard stage says about each frame that has a picture, by setting
    shown: list[dict[Setting, HazardFrame]]


@dataclass(frozen=True)
class Tuning:
    """A drive at all settings."""

    grid: Grid  # the settings
    own: Setting  # the setting of the parameters, one of the grid
    sweeps: tuple[Swept, ...]  # without the proposed ego mask, and with it where there is one
    mask: np.ndarray | None  # bool [H, W], the proposed ego mask; None: nothing stays at one place
    mask_left_out: bool  # whether something stays at one place that can be no own vehicle
    by: str  # CLEAN, LABELS or empty
    wanted: float  # false alarms a minute, for a clean drive

    def rows(self) -> list[dict[str, Any]]:
        """A row for each setting, with and without the ego mask."""
        return [
            key._asdict() | {"ego_mask": bool(index)} | condensed(figures)
            for index, sweep in enumerate(self.sweeps)
            for key, figures in sweep.figures.items()
        ]

    def proposal(self, area: int, trigger: int, masked: bool = False) -> float | None:
        """Returns the threshold that the drive suggests at these values; None where it suggests none.

        Of a clean drive it is the lowest from which on the rate of false alarms is never above the wanted one; with
        labels that of the best F1, of several such the one of the fewest false alarms.
        """
        figures = self.sweeps[masked].figures
        column = [(value, figures[Setting(value, area, trigger)]) for value in self.grid.thresholds]
        if self.by == CLEAN:
            kept = takewhile(lambda pair: (pair[1].false_alarms_per_minute or 0.0) <= self.wanted, reversed(column))
            return min((value for value, _ in kept), default=None)
        known = [(item.f1, -(item.false_alarms or 0), value) for value, item in column if item.f1]
        return max(known)[2] if known and self.by == LABELS else None

    def proposal_text(self) -> str:
        """Says which threshold the drive suggests at the parameters' own area and count; empty without labels."""
        value = self.proposal(*self.own[1:])
        wanted = f"at most {self.wanted:g} false alarms a minute"
        if not self.by:
            return ""
        if value is None:
            why = f"no threshold gives {wanted}" if self.by == CLEAN else "no obstacle is alerted at any threshold"
            return f"proposal: none, {why}"
        best = self.sweeps[0].figures[self.own._replace(threshold=value)]
        if self.by == CLEAN:
            rate, minutes = best.false_alarms_per_minute or 0.0, best.minutes
            text = f"the lowest threshold of {wanted} ({rate:.2f})"
            if minutes * self.wanted < 1:
                text += f"; the drive of {minutes:.2f} minutes is too short for that rate: it has no false alarm"
        else:
            text = f"the threshold of the best F1 of the alerts by the labels ({best.f1:.3f})"
            if value == self.grid.thresholds[0]:
                text += "; the lowest that was swept, try lower ones with --thresholds"
        return f"proposal: {value:g}, {text}"


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
    """Header and rows of a table by threshold, from ``Tuning.rows``; columns of nothing known are left out."""
    used = {key: what for key, what in _COLUMNS.items() if any(row[key] is not None for row in rows)}
    cells = [
        ["-" if row[key] is None else f"{row[key]:.{digits}f}" for key, (_, digits) in used.items()] for row in rows
    ]
    return [name for name, _ in used.values()], cells


def tune(
    drive: KeptDrive, card: ModelCard, settings: Settings, grid: Grid, edges: Sequence[float], by: str, wanted: float
) -> Tuning:
    """Judges a drive at all settings, and once more with the ego mask that it suggests.

    ``settings`` have a threshold, ``edges`` are of distance bins in metres, ``by`` is ``CLEAN``, ``LABELS`` or empty,
    and ``wanted`` are false alarms a minute, for a clean drive.
    """
    assert settings.anomaly_threshold is not None
    own = Setting(settings.anomaly_threshold, settings.min_hazard_area, settings.trigger_count)
    proposal = EgoMaskProposal(min(own.threshold, drive.tenth))
    given = settings.hazards.ego_mask
    sweeps = [_sweep(drive, card, settings.hazards, grid, edges, proposal)]
    mask, mask_left_out = proposal.compute(settings.min_hazard_area)
    if mask is not None:
        others = None if given is None else given.others(*mask.shape)[0]
        mask = mask if others is None else mask | ~others
        masked = replace(settings.hazards, ego_mask=EgoMask("ego_mask.png", mask))
        sweeps.append(_sweep(drive, card, masked, grid, edges, None))
    return Tuning(grid, own, tuple(sweeps), mask, mask_left_out, by, wanted)


def _sweep(
    drive: KeptDrive,
    card: ModelCard,
    own: HazardSettings,
    grid: Grid,
    edges: Sequence[float],
    proposal: EgoMaskProposal | None,
) -> Swept:
    """Judges a drive at all settings of a grid; each comes out as a replay at that setting."""
    known = card.classes, card.confidence, card.region_classifier
    hazards = {
        (area, trigger): replace(own, min_hazard_area=area, trigger_count=trigger)
        for area, trigger in product(grid.areas, grid.triggers)
    }
    finder, chains = HazardChain(*known), {key: HazardChain(*known) for key in grid.settings()}
    figures = {key: HazardAccumulator(edges, Braking()) for key in grid.settings()}
    shown = []
    name = "thresholds" if proposal else "thresholds with ego mask"
    for kept, frame in progress(zip(drive.frames, drive, strict=True), name, len(drive.frames)):
        if proposal:
            proposal.update(frame.score, frame.known.ego_speed)
        told, about, camera = {}, frame.known, frame.known.placed_camera
        disparity = about.disparity.pixels if about.disparity is not None and camera is not None else None
        for threshold, area in product(grid.thresholds, grid.areas):
            given, unknown = hazards[area, grid.triggers[0]], frame.score > threshold
            found = finder.detect(frame.semantic, frame.score, unknown, threshold, given, camera, disparity)
            for trigger in grid.triggers:
                key = Setting(threshold, area, trigger)
                tracked = chains[key].track(about.stamp, found, hazards[area, trigger], about.ego_speed)
                alert = frame_alert(about, tracked, (*about.problems, *tracked.problems), threshold)
                figures[key].update(frame.time, alert, about.ego_speed, frame.truth)
                told[key] = tracked
        if kept.jpeg is not None:
            shown.append(told)
    return Swept({key: judged.compute() for key, judged in figures.items()}, shown)
