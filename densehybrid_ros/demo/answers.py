"""What the node answered to a drive, read back from the recording."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader

from densehybrid_ros.bags.frames import BagFrame
from densehybrid_ros.bags.messages import plane, stamp_ns
from densehybrid_ros.bags.reader import BagFrames, LeaveOut, StampedMessages, open_bag, read_messages, topic_types
from densehybrid_ros.bags.topics import BagTopics
from densehybrid_ros.demo.topics import ALERT_TOPIC, DIAGNOSTICS_TOPIC, PICTURE_TOPICS, SCORE_TOPIC
from densehybrid_ros.hazards.hazard import Level
from densehybrid_ros.perception.images import rgb_from_image, rgb_from_message

_SCORES_SAMPLED = 4096  # a frame, to find the range of the colour map


@dataclass(frozen=True)
class Alert:
    """The summary status of one frame's hazard_alert.

    Attributes:
        raised: Whether there is a hazard near enough to be warned of.
        message: What the status says.
        values: Its key-value pairs.
    """

    raised: bool
    message: str
    values: dict[str, str]

    @property
    def largest_area(self) -> int:
        """Pixels of the largest unknown region, 0 without one."""
        return int(self.values.get("largest_area_px", 0))

    @property
    def largest_box(self) -> tuple[int, int, int, int] | None:
        """(left, top, width, height) of the largest unknown region in pixels."""
        if "largest_left" not in self.values:
            return None
        left, top, width, height = (int(self.values[f"largest_{side}"]) for side in ("left", "top", "width", "height"))
        return left, top, width, height


@dataclass(frozen=True)
class AnsweredFrame:
    """A frame of the drive with what the node said about it; None where no answer was recorded.

    Attributes:
        frame: The frame with its truth.
        alert: The alert.
        semantic: uint8 [H, W], train ids.
        score: float32 [H, W], higher = more anomalous.
        open_set: uint8 [H, W], train ids and the id of unknown.
        overlay: uint8 RGB [H, W, 3], the node's own picture for people.
    """

    frame: BagFrame
    alert: Alert | None
    semantic: np.ndarray | None
    score: np.ndarray | None
    open_set: np.ndarray | None
    overlay: np.ndarray | None


def answered_frames(
    bag: Path, recording: Path, topics: BagTopics | None = None, leave_out: LeaveOut | None = None
) -> Iterator[AnsweredFrame]:
    """Yields every frame that was played with what was recorded about it.

    Args:
        bag: What was played.
        recording: What the node answered.
        topics: Names of the played bag's topics.
        leave_out: Is told of frames that can't be used and are left out; None raises an InputError.

    Raises:
        InputError: One of the bags is damaged.
    """
    with open_bag(recording) as reader:
        recorded = topic_types(reader)
        pictures = [StampedMessages(reader, topic if topic in recorded else "") for topic in PICTURE_TOPICS]
        alerts = _alerts_of_frames(reader) if ALERT_TOPIC in recorded else {}
        for frame in BagFrames(bag, rgb_from_message, topics, leave_out):
            semantic, score, open_set, overlay = (messages.at(frame.stamp) for messages in pictures)
            alert = alerts.get(frame.stamp)
            yield AnsweredFrame(
                frame=frame,
                alert=alert,
                semantic=plane(semantic, "semantic") if semantic else None,
                score=plane(score, "anomaly_score") if score else None,
                open_set=plane(open_set, "open_set") if open_set else None,
                overlay=rgb_from_image(overlay) if overlay else None,
            )


def last_report(recording: Path) -> dict[str, str]:
    """Returns the node's last status on /diagnostics: its counts of frames among others; empty if there is none."""
    with open_bag(recording) as reader:
        if DIAGNOSTICS_TOPIC not in topic_types(reader):
            return {}
        statuses = [
            status
            for _, message in read_messages(reader, DIAGNOSTICS_TOPIC)
            for status in message.status
            if any(pair.key == "processed" for pair in status.values)
        ]
    return _pairs(statuses[-1]) if statuses else {}


def score_range(recording: Path, threshold: float) -> tuple[float, float]:
    """Returns (low, high) for the colour map of a recording's scores; see ``color_range``."""
    samples = [np.zeros(0, np.float32)]
    with open_bag(recording) as reader:
        if SCORE_TOPIC in topic_types(reader):
            for _, message in read_messages(reader, SCORE_TOPIC):
                scores = plane(message, "anomaly_score").ravel()
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


def _alerts_of_frames(reader: AnyReader) -> dict[int, Alert]:
    """Returns stamp -> alert. STALE ones are left out: they belong to no frame, and carry the time of day."""
    messages = (message for _, message in read_messages(reader, ALERT_TOPIC))
    return {
        stamp_ns(message.header): _alert(message) for message in messages if int(message.status[0].level) != Level.STALE
    }


def _alert(message: Any) -> Alert:
    status = message.status[0]
    return Alert(raised=int(status.level) > 0, message=status.message, values=_pairs(status))


def _pairs(status: Any) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}
