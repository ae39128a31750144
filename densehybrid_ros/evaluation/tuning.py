# SPDX-License-Identifier: Apache-2.0
"""What a drive was at every setting, and which threshold that suggests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from densehybrid_ros.evaluation.ego_mask_proposal import EgoMaskProposal
from densehybrid_ros.evaluation.hazard_figures import HazardFigures
from densehybrid_ros.evaluation.kept_drive import KeptDrive
from densehybrid_ros.evaluation.threshold_sweep import Grid, Setting, ThresholdSweep, condensed
from densehybrid_ros.hazards.ego_mask import EgoMask
from densehybrid_ros.hazards.hazard import HazardFrame
from densehybrid_ros.networks import ModelCard
from densehybrid_ros.perception.settings import Settings
from densehybrid_ros.progress import progress

CLEAN, LABELS = "clean", "labels"
"""What a threshold is proposed by: the rate of false alarms of a drive without obstacles, or its labels."""


@dataclass(frozen=True)
class Swept:
    """A drive at all settings, with or without the proposed ego mask.

    Attributes:
        figures: By setting.
        shown: What the hazard stage says about each frame that has a picture, by setting.
    """

    figures: dict[Setting, HazardFigures]
    shown: list[dict[Setting, HazardFrame]]


@dataclass(frozen=True)
class Tuning:
    """A drive at all settings.

    Attributes:
        grid: The settings.
        settings: The parameters; their own threshold, area and count are in the grid.
        sweeps: Without the proposed ego mask, and with it where there is one.
        mask: bool [H, W], the proposed ego mask; None: nothing stays at one place.
        mask_left_out: Whether something stays at one place that can be no own vehicle.
        by: ``CLEAN``, ``LABELS`` or empty.
        wanted: False alarms a minute, for a clean drive.
    """

    grid: Grid
    settings: Settings
    sweeps: tuple[Swept, ...]
    mask: np.ndarray | None
    mask_left_out: bool
    by: str
    wanted: float

    @property
    def own(self) -> Setting:
        """The setting of the parameters."""
        threshold, hazards = self.settings.anomaly_threshold, self.settings.hazards
        assert threshold is not None
        return Setting(threshold, hazards.min_hazard_area, hazards.trigger_count)

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
            chosen = None
            for value, item in reversed(column):
                if (item.false_alarms_per_minute or 0.0) > self.wanted:
                    break
                chosen = value
            return chosen
        known = [(item.f1, -(item.false_alarms or 0), value) for value, item in column if item.f1]
        return max(known)[2] if known and self.by == LABELS else None


def proposal_text(tuning: Tuning) -> str:
    """Says which threshold the drive suggests at the parameters' own area and count; empty without labels."""
    own = tuning.own
    value = tuning.proposal(own.min_hazard_area, own.trigger_count)
    figures = tuning.sweeps[0].figures
    if tuning.by == CLEAN:
        minutes = figures[own].minutes
        wanted = f"at most {tuning.wanted:g} false alarms a minute"
        if value is None:
            return f"proposal: none, no threshold gives {wanted}"
        rate = figures[own._replace(threshold=value)].false_alarms_per_minute or 0.0
        text = f"proposal: {value:g}, the lowest threshold of {wanted} ({rate:.2f})"
        if minutes * tuning.wanted < 1:
            text += f"; the drive of {minutes:.2f} minutes is too short for that rate: it has no false alarm"
        return text
    if tuning.by == LABELS:
        if value is None:
            return "proposal: none, no obstacle is alerted at any threshold"
        best = figures[own._replace(threshold=value)]
        text = f"proposal: {value:g}, the threshold of the best F1 of the alerts by the labels ({best.f1:.3f})"
        lowest = "; the lowest that was swept, try lower ones with --thresholds"
        return text + (lowest if value == tuning.grid.thresholds[0] else "")
    return ""


def tune(
    drive: KeptDrive,
    card: ModelCard,
    settings: Settings,
    grid: Grid,
    edges: Sequence[float],
    by: str,
    wanted: float,
) -> Tuning:
    """Judges a drive at all settings, and once more with the ego mask that it suggests.

    Args:
        drive: The drive.
        card: Of the model.
        settings: The parameters.
        grid: The settings.
        edges: Distance bins in metres.
        by: ``CLEAN``, ``LABELS`` or empty.
        wanted: False alarms a minute, for a clean drive.
    """
    assert settings.anomaly_threshold is not None
    proposal = EgoMaskProposal(min(settings.anomaly_threshold, drive.tenth))

    def sweep(mask: EgoMask | None, name: str) -> Swept:
        swept, shown = ThresholdSweep(card, settings, grid, edges, ego_mask=mask), []
        for kept, frame in progress(zip(drive.frames, drive, strict=True), name, len(drive.frames)):
            if mask is None:
                proposal.update(frame)
            told = swept.update(frame)
            if kept.jpeg is not None:
                shown.append(told)
        return Swept(swept.compute(), shown)

    sweeps = [sweep(None, "thresholds")]
    mask, mask_left_out = proposal.compute(settings.min_hazard_area)
    if mask is not None:
        given = settings.hazards.ego_mask
        others = None if given is None else given.others(*mask.shape)[0]
        mask = mask if others is None else mask | ~others
        sweeps.append(sweep(EgoMask("ego_mask.png", mask), "thresholds with ego mask"))
    return Tuning(grid, settings, tuple(sweeps), mask, mask_left_out, by, wanted)
