# SPDX-License-Identifier: Apache-2.0
"""What /diagnostics says about the node once a second."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from densehybrid_ros.nodes.alert_topic import key_values
from densehybrid_ros.nodes.statistics import Counts, FrameStatistics
from densehybrid_ros.perception.alert import text_values

PERIOD = 1.0
"""Seconds between two reports."""

_RANKS = (50.0, 95.0, 99.0)
_TIMES = {
    "latency": "from arrival in the node to the end of publishing",
    "queue_age": "in the newest-frame slot",
    "inference": "in the model",
    "hazards": "from the masks to tracked hazards",
    "publish": "filling and publishing the outputs",
    "stamp_age": "from the camera's stamp to the end of publishing, by the ROS clock",
}
"""Durations that are reported as percentiles; the frame processor adds them to the statistics."""


@dataclass(frozen=True)
class NodeState:
    """What the node itself knows.

    Attributes:
        lifecycle: Label of the life-cycle state.
        model: Description of model, backend and device; empty before the node is configured.
        anomaly_threshold: Threshold in nats; None before it is known.
        backend_reason: Why this backend was taken.
        engine_build: What the background build of an engine is doing; empty without one.
        transport: What is wrong with the way that images go; empty if nothing is.
    """

    lifecycle: str
    model: str
    anomaly_threshold: float | None
    backend_reason: str = ""
    engine_build: str = ""
    transport: str = ""


class DiagnosticsReport:
    """Makes the reports of one camera; it remembers the last counts to give rates."""

    def __init__(self, node_name: str, statistics: FrameStatistics) -> None:
        """``node_name`` is fully qualified and with the camera's, so that the reports of several cameras differ."""
        self._name = f"{node_name}: frames"
        self._statistics = statistics
        self._last_counts = Counts()
        self._last_time = time.monotonic()
        self._last_problems: tuple[tuple[int, str], ...] = ()

    def make(self, state: NodeState, topic: str, silence: float | None, stamp: Any) -> DiagnosticArray:
        """Makes the report of this moment.

        Args:
            state: What the node knows.
            topic: Of the camera.
            silence: Seconds without a frame, if that is longer than the source timeout; None otherwise.
            stamp: builtin_interfaces/Time of the header.
        """
        counts, now = self._statistics.counts(), time.monotonic()
        elapsed = max(now - self._last_time, 1e-3)
        quiet = "" if silence is None else f"no frame on {topic} for {silence:.0f} s"
        level, message = self._judge(state, counts, quiet)
        status = DiagnosticStatus(name=self._name, hardware_id=topic, level=level, message=message)
        values: dict[str, Any] = {
            "lifecycle_state": state.lifecycle,
            "model": state.model or "not loaded",
            **({"backend_reason": state.backend_reason} if state.backend_reason else {}),
            **({"engine_build": state.engine_build} if state.engine_build else {}),
            **({"transport": state.transport} if state.transport else {}),
            "anomaly_threshold": "unset" if state.anomaly_threshold is None else state.anomaly_threshold,
            "input_rate_hz": (counts.received - self._last_counts.received) / elapsed,
            "output_rate_hz": (counts.processed - self._last_counts.processed) / elapsed,
            "received": counts.received,
            "processed": counts.processed,
            "dropped": counts.dropped,
            "dropped_before_arrival": counts.missed,
            "rejected": counts.rejected,
            "failed": counts.failed,
        }
        for what in _TIMES:
            for rank, value in zip(_RANKS, self._statistics.percentiles(what, _RANKS) or (), strict=False):
                values[f"{what}_p{rank:.0f}_ms"] = value * 1e3
        hazards = self._statistics.mean_and_largest("hazards")
        if hazards:
            values["hazards_mean_ms"], values["hazards_max_ms"] = (value * 1e3 for value in hazards)
        problems = self._statistics.problems()
        for number, (count, text) in enumerate(problems, 1):
            values[f"problem_{number}"] = f"{count} frames: {text}"
        for what, reason in self._statistics.reasons().items():
            values[f"last_{what}"] = reason
        status.values = key_values(text_values(values))
        self._last_counts, self._last_time, self._last_problems = counts, now, problems
        report = DiagnosticArray(status=[status])
        report.header.stamp = stamp
        return report

    def _judge(self, state: NodeState, counts: Counts, quiet: str) -> tuple[bytes, str]:
        """Returns level and message; failures weigh most, then rejected frames, silence, problems of inputs."""
        failed = counts.failed - self._last_counts.failed
        rejected = counts.rejected - self._last_counts.rejected
        if failed:
            return DiagnosticStatus.ERROR, f"{failed} frames failed since the last report"
        if rejected:
            return DiagnosticStatus.WARN, f"{rejected} frames rejected since the last report"
        if quiet:
            return DiagnosticStatus.WARN, quiet
        recent = [text for count, text in self._statistics.problems() if (count, text) not in self._last_problems]
        if recent or state.transport:
            return DiagnosticStatus.WARN, "; ".join(filter(None, [*recent, state.transport]))
        return DiagnosticStatus.OK, state.lifecycle
