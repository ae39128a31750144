# SPDX-License-Identifier: Apache-2.0
"""The range of the colour map, and alerts as they are recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from densehybrid_ros.bags import messages
from densehybrid_ros.bags.recording import RecordedFrame
from densehybrid_ros.bags.storage import RawMessage
from densehybrid_ros.bags.writer import RawBagWriter
from densehybrid_ros.demo.answers import answered_frames, color_range
from densehybrid_ros.demo.transport import ALERT_TOPIC, SCORE_TOPIC
from densehybrid_ros.hazards.hazard import Level
from densehybrid_ros.perception.alert import Alert, Status, stale_frame_alert
from densehybrid_ros.perception.perception import Frame

ARRAY = "diagnostic_msgs/msg/DiagnosticArray"


@pytest.mark.parametrize(
    ("scores", "threshold"),
    [
        (np.linspace(-12, -4, 1000), -6.0),  # as usual
        (np.concatenate([np.full(900, -10.0), np.linspace(0, 500, 100)]), 5.0),  # a few far above the threshold
        (np.linspace(-12, -8, 1000), 40.0),  # all below it
        (np.linspace(-12, -8, 1000), -300.0),  # all above it
        (np.full(10, 3.0), 3.0),
        (np.array([np.nan, np.inf]), 1.0),
        (np.zeros(0), 1.0),
    ],
)
def test_the_threshold_divides_the_colours(scores: np.ndarray, threshold: float) -> None:
    low, high = color_range(scores.astype(np.float32), threshold)
    assert np.isfinite([low, high]).all()
    assert low < threshold < high
    assert 4 / 9 - 1e-6 <= (threshold - low) / (high - low) <= 0.8 + 1e-6


def _alert(stamp: int, *statuses: tuple[str, int, str, dict[str, str]]) -> bytes:
    made = [
        messages.make(
            "diagnostic_msgs/msg/DiagnosticStatus",
            level=level,
            name=f"perception: {what}",
            message=message,
            hardware_id="camera",
            values=[messages.make("diagnostic_msgs/msg/KeyValue", key=key, value=text) for key, text in values.items()],
        )
        for what, level, message, values in statuses
    ]
    header = messages.header_message(stamp, "camera")
    return bytes(messages.serialize(messages.make(ARRAY, header=header, status=made)))


def test_what_the_node_said_is_read_back_by_the_stamp(tmp_path: Path) -> None:
    image = np.zeros((2, 3, 3), np.uint8)
    frames = [
        RecordedFrame(number, number, str(number), image, RawMessage("/camera/image", messages.IMAGE, number, b""))
        for number in range(1, 5)
    ]
    score = np.arange(6, dtype=np.float32).reshape(2, 3)
    unknown = stale_frame_alert("hazards are unknown: camera_info: none").summary
    with RawBagWriter(tmp_path / "answers") as writer:
        writer.add_topic(ALERT_TOPIC, ARRAY)
        writer.add_topic(SCORE_TOPIC, messages.IMAGE)
        hazard = ("hazard 7", 1, "active", {"id": "7"})
        writer.write_raw(
            ALERT_TOPIC, 11, _alert(1, ("hazards", 1, "1 hazard", {"hazard_count": "1", "problems": "none"}), hazard)
        )
        writer.write_raw(ALERT_TOPIC, 12, _alert(2, ("hazards", 3, unknown.message, unknown.values)))
        # Of no frame, though the clock says as much as a frame's stamp.
        writer.write_raw(ALERT_TOPIC, 13, _alert(1, ("hazards", 3, "no frame on /camera/image for 2.1 s", {})))
        writer.write_raw(ALERT_TOPIC, 14, _alert(3, ("hazards", 3, "the node is inactive", {})))
        made = messages.image_message(score, "32FC1", messages.header_message(2, "camera"))
        writer.write_raw(SCORE_TOPIC, 15, messages.serialize(made))
    first, second, third, fourth = answered_frames(((frame, Frame(image)) for frame in frames), tmp_path / "answers")
    assert first.alert == Alert(
        Status("hazards", Level.WARN, "1 hazard", {"hazard_count": "1", "problems": "none"}),
        (Status("hazard 7", Level.WARN, "active", {"id": "7"}),),
    )
    assert first.score is None
    assert second.alert == Alert(unknown)
    assert second.score is not None
    np.testing.assert_array_equal(second.score, score)
    assert (third.alert, fourth.alert) == (None, None)
    assert [item.frame.stamp for item in (first, second, third, fourth)] == [1, 2, 3, 4]
