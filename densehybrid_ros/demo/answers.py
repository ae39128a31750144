# SPDX-License-Identifier: Apache-2.0
"""What the node answered to a drive, read back from the recording of its answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from densehybrid_ros.bags.messages import IMAGE
from densehybrid_ros.bags.recording import RecordedFrame
from densehybrid_ros.bags.storage import RawMessage, open_storage
from densehybrid_ros.demo.transport import ALERT_TOPIC, DIAGNOSTICS_TOPIC, PICTURE_TOPICS, SCORE_TOPIC
from densehybrid_ros.hazards.hazard import Level
from densehybrid_ros.perception.alert import Alert, Status
from densehybrid_ros.perception.images import plane, rgb_from_message
from densehybrid_ros.perception.perception import Frame

_SCORES_SAMPLED = 4096  # a frame, to find the range of the colour map
_DIAGNOSTIC_ARRAY = "diagnostic_msgs/msg/DiagnosticArray"


@dataclass(frozen=True)
class AnsweredFrame:
    """A frame of the drive with what the node said about it; None where no answer was recorded."""

    frame: RecordedFrame  # The frame with its truth
    known: Frame  # The same with what is known at it
    alert: Alert | None
    semantic: np.ndarray | None  # uint8 [H, W], train ids
    score: np.ndarray | None  # float32 [H, W], higher = more anomalous
    open_set: np.ndarray | None  # uint8 [H, W], train ids and the id of unknown
    overlay: np.ndarray | None  # uint8 RGB [H, W, 3], the node's own picture for people


def answered_frames(frames: Iterable[tuple[RecordedFrame, Frame]], answers: Path) -> Iterator[AnsweredFrame]:
    """Yields every frame that was played, as ``known_frames`` yields it, with what the bag of answers holds about it.

    Raises:
        InputError: One of the bags is damaged.
    """
    storage = open_storage(answers, dict.fromkeys(PICTURE_TOPICS, IMAGE) | {ALERT_TOPIC: _DIAGNOSTIC_ARRAY})
    alerts = {raw.stamp: alert for raw in storage.messages([ALERT_TOPIC]) if (alert := read_alert(raw)) is not None}
    for frame, known in frames:
        *found, overlay = (storage.find(topic, frame.stamp) for topic in PICTURE_TOPICS)
        semantic, score, open_set = (plane(raw.message) if raw else None for raw in found)
        picture = rgb_from_message(overlay.message) if overlay else None
        yield AnsweredFrame(frame, known, alerts.get(frame.stamp), semantic, score, open_set, picture)


def read_alert(raw: RawMessage) -> Alert | None:
    """Reads an alert; None for a STALE one without a frame, which carries the time of day."""
    summary, *hazards = (_status(status) for status in raw.message.status)
    return Alert(summary, tuple(hazards)) if "problems" in summary.values else None


def last_report(answers: Path) -> dict[str, str]:
    """Returns the node's last status on /diagnostics: its counts of frames among others; empty if there is none."""
    found: dict[str, str] = {}
    for raw in open_storage(answers).messages([DIAGNOSTICS_TOPIC]):
        for values in map(_pairs, raw.message.status):
            found = values if "processed" in values else found
    return found


def score_range(answers: Path, threshold: float) -> tuple[float, float]:
    """Returns (low, high) for the colour map of recorded scores; see ``color_range``."""
    samples: list[np.ndarray] = [np.zeros(0, np.float32)]
    for raw in open_storage(answers).messages([SCORE_TOPIC]):
        scores = plane(raw.message).ravel()
        samples.append(scores[:: max(1, scores.size // _SCORES_SAMPLED)])
    return color_range(np.concatenate(samples), threshold)


def color_range(scores: np.ndarray, threshold: float) -> tuple[float, float]:
    """Chooses the range of a colour map so that both sides of the threshold can be told apart.

    Args:
        scores: float32, any shape; what is not finite is left out.
        threshold: Anomaly threshold.

    Returns:
        (low, high): nearly all scores lie between, but the threshold lies at four ninths of the way or higher, since
        a few objects may score far above it, and never at the very end.
    """
    finite = scores[np.isfinite(scores)]
    bottom, top = np.percentile(finite, (1.0, 99.8)) if finite.size else (threshold - 1.0, threshold + 1.0)
    low = min(float(bottom), threshold - 0.2 * max(float(top - bottom), 1e-3))
    reach = threshold - low
    return low, min(max(float(top), threshold + 0.25 * reach), threshold + 1.25 * reach)


def _status(status: Any) -> Status:
    return Status(status.name.partition(": ")[2], Level(int(status.level)), status.message, _pairs(status))


def _pairs(status: Any) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}
