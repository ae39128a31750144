# SPDX-License-Identifier: Apache-2.0
"""The real node process over DDS: what it publishes, counts, refuses and survives."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.serialization import serialize_message
from ros_peer import IMAGE_OUTPUTS, RosPeer, image_message, pixels_of, values_of

from densehybrid_ros.bags.storage import RawMessage
from densehybrid_ros.confidence import Confidence
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.demo.answers import read_alert
from densehybrid_ros.demo.node_process import NodeProcess
from densehybrid_ros.hazards import HazardChain, HazardSettings
from densehybrid_ros.hazards.picture import draw_caption, draw_marks
from densehybrid_ros.inference import FrameResult, Segmenter
from densehybrid_ros.perception.overlay import alert_marks, compose_overlay, moment_text

pytestmark = pytest.mark.ros

UNKNOWN = 19
EVERY = {"on_road_only": False, "trigger_count": 1, "trigger_window": 1, "release_count": 1, "max_hazards": 10_000}
"""Every region is a hazard, and in its first frame, so that the alert can be told from the masks of a frame."""


def picture(height: int, width: int, seed: int) -> np.ndarray:
    """Coarse colour noise: structure at the scale of the network's grid."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def threshold(segmenter: Segmenter) -> float:
    """A threshold that cuts through the scores of the seeded network."""
    return float(np.median(segmenter(picture(256, 512, 1), 0.0).anomaly_score))


@pytest.fixture(scope="module")
def node(start_node: Callable[..., NodeProcess], threshold: float) -> Iterator[NodeProcess]:
    # Reliable, so that a busy machine loses no frame on the way and the numbers can be exact.
    with start_node(input_reliability="reliable", anomaly_threshold=threshold, **EVERY) as process:
        process.wait_until_active()
        yield process
        assert process.stop(signal.SIGTERM) == 0, process.log()


@pytest.fixture(scope="module")
def peer(node: NodeProcess) -> Iterator[RosPeer]:
    with closing(RosPeer("/camera")) as peer:
        peer.connect()
        yield peer


def hazard_areas(result: FrameResult) -> list[int]:
    """Pixels of each hazard that the chain finds in one frame."""
    chain = HazardChain(CITYSCAPES_CLASSES, Confidence(0.0, 1.0))
    unknown = result.open_set == UNKNOWN
    frame = chain.update(0.0, result.semantic, result.anomaly_score, unknown, 0.0, HazardSettings(**EVERY))
    return [hazard.region.area for hazard in frame.hazards]


def assert_equal_to_segmenter(peer: RosPeer, number: int, image: np.ndarray, expected: FrameResult, threshold: float):
    np.testing.assert_array_equal(pixels_of(peer.result("semantic", number)), expected.semantic)
    np.testing.assert_array_equal(pixels_of(peer.result("anomaly_score", number)), expected.anomaly_score)
    np.testing.assert_array_equal(pixels_of(peer.result("open_set", number)), expected.open_set)
    message = peer.result("hazard_alert", number)
    alert = read_alert(RawMessage("", "diagnostic_msgs/msg/DiagnosticArray", 0, serialize_message(message)))
    assert alert is not None
    overlay = compose_overlay(image, expected.open_set, CITYSCAPES_CLASSES, 0.5)
    draw_marks(overlay, alert_marks(alert))
    stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
    draw_caption(overlay, moment_text(stamp), alert.level, alert.summary.message)
    np.testing.assert_array_equal(pixels_of(peer.result("overlay", number)), overlay)
    values = values_of(message.status[0])
    areas = hazard_areas(expected)
    assert int(values["hazard_count"]) == len(areas)
    assert int(values["largest_area_px"]) == max(areas)
    assert float(values["anomaly_threshold"]) == pytest.approx(threshold, abs=1e-3)


def test_every_pixel_equals_the_model_called_directly(peer: RosPeer, segmenter: Segmenter, threshold: float) -> None:
    """Large frames through DDS: all outputs pixel for pixel, and the header bit for bit."""
    for number, encoding, padding in ((1, "rgb8", 0), (2, "bgr8", 64)):
        image = picture(1024, 2048, number)
        sent = image_message(image if encoding == "rgb8" else image[:, :, ::-1].copy(), encoding, padding, number)
        peer.send(sent)
        expected = segmenter(image, threshold)
        assert 0.1 < np.mean(expected.open_set == UNKNOWN) < 0.9
        assert_equal_to_segmenter(peer, number, image, expected, threshold)
        for name in (*IMAGE_OUTPUTS, "hazard_alert"):
            assert peer.received[name][number].header == sent.header


def test_every_frame_sent_is_accounted_for(peer: RosPeer) -> None:
    before = peer.settle()
    image = picture(512, 1024, 3)
    for number in range(20, 32):
        encoding = "no_such_encoding" if number == 25 else "rgb8"
        peer.send(image_message(image, encoding, number=number))
    peer.result("semantic", 31)
    after = peer.settle()
    change = {key: after[key] - before[key] for key in after}
    assert change["processed"] + change["dropped"] + change["rejected"] == 12
    assert change["failed"] == 0
    assert change["dropped"] > 0  # twelve frames at once, and one inference takes longer than sending them
    answered = [number for number in peer.received["semantic"] if 20 <= number < 32]
    assert len(answered) == change["processed"]
    report = peer.diagnostics
    assert report["lifecycle_state"] == "active"
    assert report["model"].startswith("seeded (light), eager ")
    for what in ("latency", "queue_age", "inference", "publish", "stamp_age"):
        ranks = [float(report[f"{what}_p{rank}_ms"]) for rank in (50, 95, 99)]
        assert ranks == sorted(ranks)
        assert ranks[0] >= 0.0
    assert float(report["latency_p50_ms"]) >= float(report["inference_p50_ms"])
    age = time.time() - image_message(image, "rgb8", number=31).header.stamp.sec
    assert float(report["stamp_age_p50_ms"]) == pytest.approx(1e3 * age, rel=1e-3)


def test_threshold_counts_from_the_next_frame_on(peer: RosPeer, segmenter: Segmenter, threshold: float) -> None:
    image = picture(64, 128, 4)
    semantic = segmenter(image, 0.0).semantic
    for number, value, expected in ((40, 1000.0, semantic), (41, -1000.0, np.full_like(semantic, UNKNOWN))):
        assert peer.set_parameter("anomaly_threshold", value) == (True, "")
        peer.send(image_message(image, "rgb8", number=number))
        np.testing.assert_array_equal(pixels_of(peer.result("open_set", number)), expected)
    assert peer.set_parameter("anomaly_threshold", threshold)[0]


def test_outputs_can_be_switched_off(peer: RosPeer) -> None:
    image = picture(32, 64, 6)
    assert peer.set_parameter("publish_overlay", False)[0]
    peer.send(image_message(image, "rgb8", number=60))
    peer.result("anomaly_score", 60)
    assert peer.set_parameter("publish_overlay", True)[0]
    peer.send(image_message(image, "rgb8", number=61))
    peer.result("overlay", 61)
    assert 60 not in peer.received["overlay"]


def test_unreadable_frames_are_rejected_and_the_node_lives_on(peer: RosPeer, node: NodeProcess) -> None:
    before = peer.settle()
    short = image_message(picture(32, 64, 7), "rgb8", number=70)
    short.height = 33
    peer.send(short)
    after = peer.settle()
    assert after["rejected"] == before["rejected"] + 1
    assert "size disagrees with the data" in peer.diagnostics["last_rejected"]
    # The warning is throttled: at least the first rejected frame of this module is in the log.
    warnings = [line for line in node.log().splitlines() if "[WARN]" in line and "rejected" in line]
    assert warnings
    assert "/camera: frame 17000000" in warnings[0]
    assert "no_such_encoding" in warnings[0] or "size disagrees" in warnings[0]
    peer.send(image_message(picture(32, 64, 8), "rgb8", number=71))
    peer.result("semantic", 71)
