# SPDX-License-Identifier: Apache-2.0
"""What a drive through the node came to, in figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from densehybrid_ros.bags.recording import RecordedFrame
from densehybrid_ros.datasets.evaluation_set import ANOMALY, IGNORE
from densehybrid_ros.demo.answers import AnsweredFrame
from densehybrid_ros.hazards.hazard import Level
from densehybrid_ros.perception.perception import Frame

_MIN_PIXELS = 50
_MIN_COVER = 0.5


@dataclass
class TruthFigures:
    """How the unknown pixels that the node found compare with the drive's truth."""

    seen: set[int] = field(default_factory=set)  # Ids of unknown objects of which a frame shows at least 50 pixels
    # Those of which at least half was found unknown in a frame -> metres along the optical axis when that was first so
    # (None without disparity)
    alerted: dict[int, float | None] = field(default_factory=dict)
    unknown_pixels: int = 0  # Pixels found unknown where the truth is known
    unknown_on_objects: int = 0  # Those among them that lie on an unknown object

    def add(self, truth: RecordedFrame, known: Frame, unknown: np.ndarray) -> None:
        """Counts a frame with labels and instances, what is known at it, and what the node found unknown [H, W]."""
        assert truth.labels is not None
        assert truth.instances is not None
        self.unknown_pixels += int(np.count_nonzero(unknown & (truth.labels != IGNORE)))
        self.unknown_on_objects += int(np.count_nonzero(unknown & (truth.labels == ANOMALY)))
        pixels = np.bincount(truth.instances.ravel())
        found = np.bincount(truth.instances[unknown], minlength=len(pixels))
        for number in (1 + np.flatnonzero(pixels[1:] >= _MIN_PIXELS)).tolist():
            self.seen.add(number)
            if found[number] >= _MIN_COVER * pixels[number] and number not in self.alerted:
                self.alerted[number] = _distance(truth.instances == number, known)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types."""
        distances = [distance for distance in self.alerted.values() if distance is not None]
        share = self.unknown_on_objects / self.unknown_pixels if self.unknown_pixels else None
        return {
            "objects": len(self.seen),
            "objects_alerted": len(self.alerted),
            "first_alert_distance_m": round(float(np.median(distances)), 1) if distances else None,
            "unknown_pixels_on_objects": None if share is None else round(share, 3),
        }

    def line(self) -> str:
        """Returns the figures for people."""
        figures = self.to_dict()
        text = f"{figures['objects_alerted']} of {figures['objects']} unknown objects raised an alert"
        if figures["first_alert_distance_m"] is not None:
            text += f", first at {figures['first_alert_distance_m']:.0f} m (median)"
        if figures["unknown_pixels_on_objects"] is not None:
            text += f"; {figures['unknown_pixels_on_objects']:.0%} of the unknown pixels lie on one"
        return text


@dataclass
class DriveFigures:
    """What the printed summary, the page and ``--json`` say."""

    sent: int = 0  # Pictures that were played to the node
    processed: int = 0  # This and the next three: the node's own counts of frames, as in /diagnostics
    dropped: int = 0
    rejected: int = 0
    failed: int = 0
    answered: int = 0  # Frames whose alert came back to the recorder
    alerts: int = 0  # Frames with at least one unknown region
    largest_region: int = 0  # Pixels of the largest unknown region of all frames
    # From sending the picture to receiving its alert, DDS included; None without answers
    latency_median_ms: float | None = None
    latency_p95_ms: float | None = None  # The same, 95th percentile
    seconds: dict[str, float] = field(default_factory=dict)  # Wall time by stage
    truth: TruthFigures | None = None  # Comparison with the truth, where the drive has one

    def add(self, answered: AnsweredFrame, num_classes: int) -> None:
        """Counts what the node answered to a frame; ``num_classes`` is the id of unknown."""
        frame, alert = answered.frame, answered.alert
        if alert is not None:
            self.answered += 1
            self.alerts += alert.level > Level.OK
            self.largest_region = max(self.largest_region, int(alert.summary.values.get("largest_area_px", 0)))
        if answered.open_set is not None and frame.labels is not None and frame.instances is not None:
            self.truth = self.truth or TruthFigures()
            self.truth.add(frame, answered.known, answered.open_set == num_classes)

    def finish(self, report: Mapping[str, str], milliseconds: Sequence[float]) -> None:
        """Takes the node's own counts, without them what came back, and the latencies of all frames."""
        for name in ("processed", "dropped", "rejected", "failed"):
            setattr(self, name, int(report.get(name, 0)))
        if not report:
            self.processed = self.answered
        if milliseconds:
            median, p95 = np.percentile(milliseconds, (50, 95))
            self.latency_median_ms, self.latency_p95_ms = round(float(median), 1), round(float(p95), 1)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types for JSON."""
        content = asdict(self)
        content["seconds"] = {stage: round(value, 1) for stage, value in self.seconds.items()}
        content["truth"] = self.truth.to_dict() if self.truth else None
        return content

    @property
    def lost(self) -> str:
        """The frames that were not processed, in words."""
        lost = f"{self.dropped} dropped, {self.rejected} rejected"
        return lost + (f", {self.failed} failed" if self.failed else "")

    def lines(self) -> list[str]:
        """Returns the summary for people."""
        latency = "none"
        if self.latency_median_ms is not None:
            latency = f"median {self.latency_median_ms:.0f} ms, 95th percentile {self.latency_p95_ms:.0f} ms"
        lines = [
            f"frames    {self.sent} sent, {self.processed} processed, {self.lost}",
            f"latency   {latency} (picture sent to alert received)",
            f"alerts    {self.alerts} of {self.answered} frames; largest unknown region {self.largest_region} px",
        ]
        if self.truth:
            lines.append(f"truth     {self.truth.line()}")
        stages = ", ".join(f"{stage} {value:.1f} s" for stage, value in self.seconds.items())
        return [*lines, f"time      {stages}; {sum(self.seconds.values()):.1f} s in all"]


def _distance(mask: np.ndarray, known: Frame) -> float | None:
    if known.disparity is None:
        return None
    disparity = known.disparity.pixels[mask & (known.disparity.pixels > 0)]
    return float(known.disparity.focal * known.disparity.baseline / np.median(disparity)) if disparity.size else None
