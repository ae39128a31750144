"""Messages that are filled the fast way are those that the slow way makes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from densehybrid_ros.hazards.regions import Region
from densehybrid_ros.nodes import messages
from densehybrid_ros.nodes.hazard_alert import hazard_alert

pytestmark = pytest.mark.ros

ARRAYS = {
    "mono8": np.arange(35, dtype=np.uint8).reshape(5, 7),
    "32FC1": np.linspace(-9, 9, 35, dtype=np.float32).reshape(5, 7),
    "rgb8": np.arange(105, dtype=np.uint8).reshape(5, 7, 3),
}


def header() -> Header:
    header = Header(frame_id="camera é")
    header.stamp.sec, header.stamp.nanosec = 2**31 - 1, 999_999_999
    return header


@pytest.mark.parametrize("takes_buffers", [False, True])
@pytest.mark.parametrize("encoding", ARRAYS)
def test_fast_message_is_the_slow_one(encoding: str, takes_buffers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if takes_buffers and not messages._TAKES_BUFFERS:
        pytest.skip("this ROS distribution's messages take no buffers")
    monkeypatch.setattr(messages, "_TAKES_BUFFERS", takes_buffers)
    pixels = ARRAYS[encoding]
    slow = Image(header=header(), height=5, width=7, encoding=encoding, step=pixels.nbytes // 5)
    slow.data = list(pixels.tobytes())
    message = messages.image_message(header(), pixels, encoding)
    assert serialize_message(message) == serialize_message(slow)
    assert deserialize_message(serialize_message(message), Image) == slow


def test_header_is_taken_over() -> None:
    given = header()
    assert messages.image_message(given, ARRAYS["mono8"], "mono8").header is given


def test_alert_without_a_region() -> None:
    alert = hazard_alert(header(), (), "perception", -3.0, (480, 640))
    assert alert.header == header()
    (status,) = alert.status
    assert status.level == status.OK
    assert (status.name, status.hardware_id, status.message) == ("perception: hazards", "camera é", "no hazard")
    values = {item.key: item.value for item in status.values}
    assert values == {
        "hazard_count": "0",
        "hazard_area_px": "0",
        "anomaly_threshold": "-3.000",
        "image_height": "480",
        "image_width": "640",
    }


def test_alert_names_the_largest_region() -> None:
    regions = (Region(90, 10, 20, 12, 9, (15.5, 24.0), 2.25), Region(60, 1, 2, 8, 8, (4.0, 5.0), 1.0))
    (status,) = hazard_alert(header(), regions, "perception", -3.0, (480, 640)).status
    assert status.level == status.WARN
    assert status.message == "2 unknown regions, the largest of 90 px"
    values = {item.key: item.value for item in status.values}
    assert values["hazard_count"] == "2"
    assert values["hazard_area_px"] == "150"
    assert [values[f"largest_{key}"] for key in ("area_px", "left", "top", "width", "height")] == [
        "90",
        "10",
        "20",
        "12",
        "9",
    ]
    assert (values["largest_center_x"], values["largest_peak_score"]) == ("15.500", "2.250")
