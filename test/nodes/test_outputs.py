# SPDX-License-Identifier: Apache-2.0
"""What the outputs hold: the score in either encoding, and pictures compressed as image_transport names them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Float64MultiArray, Header

from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.demo.spinning import spinning_node, wait_until
from densehybrid_ros.hazards.road import find_ground
from densehybrid_ros.inference import FrameResult
from densehybrid_ros.nodes.inputs import CameraFrame
from densehybrid_ros.nodes.messages import Picture, qos
from densehybrid_ros.nodes.outputs import OUTPUTS, SCORE_OFFSET, SCORE_SCALE, Outputs
from densehybrid_ros.perception.perception import Frame, Perceived
from densehybrid_ros.perception.settings import Settings

pytestmark = pytest.mark.ros

SHAPE = (48, 64)
RANDOM = np.random.default_rng(0)
MASK = RANDOM.integers(0, 20, (3, 4), dtype=np.uint8).repeat(16, axis=0).repeat(16, axis=1)
PICTURE = cv2.GaussianBlur(RANDOM.integers(0, 256, (*SHAPE, 3), dtype=np.uint8), (9, 9), 3)


def frame(score: np.ndarray | None = None, semantic: np.ndarray = MASK, **settings: Any) -> CameraFrame:
    score = RANDOM.normal(-4, 6, SHAPE).astype(np.float32) if score is None else score
    made = CameraFrame(CompressedImage(header=Header(frame_id="camera")), 0.0, replace(Settings(), **settings))
    masks = FrameResult(semantic, score, MASK, MASK)
    made.perceived = Perceived(Frame(PICTURE), masks, CITYSCAPES_CLASSES, -3.0, None, (), 0.0, 0.0)
    return made


def test_score_in_half_the_bytes_is_rounded() -> None:
    given = frame(score_encoding="16UC1")
    picture = OUTPUTS["anomaly_score"].make(given)
    assert (picture.encoding, picture.pixels.dtype, picture.pixels.shape) == ("16UC1", np.uint16, SHAPE)
    nats = SCORE_SCALE * picture.pixels + SCORE_OFFSET
    assert np.abs(nats - given.perceived.masks.anomaly_score).max() < 0.51 * SCORE_SCALE
    score = np.array([[-np.inf, -1e30, -128.0, 0.0, 127.99609375, 128.0, 1e30, np.inf, np.nan]], np.float32)
    picture = OUTPUTS["anomaly_score"].make(frame(score, score_encoding="16UC1"))
    np.testing.assert_array_equal(picture.pixels, [[0, 0, 0, 32768, 65535, 65535, 65535, 65535, 0]])
    assert OUTPUTS["anomaly_score"].make(frame(score)).pixels is score  # by default


def test_road_hazard_is_the_score_lowered_away_from_the_ground() -> None:
    street = np.repeat(np.where(np.arange(48) < 24, 2, 0).astype(np.uint8), 64).reshape(SHAPE)
    given = frame(semantic=street, road_prior=30.0)
    score = given.perceived.masks.anomaly_score
    lowered = score - OUTPUTS["road_hazard"].make(given).pixels
    ground = find_ground(street, CITYSCAPES_CLASSES)
    np.testing.assert_allclose(lowered, ground.prior(30.0).repeat(2, axis=0).repeat(2, axis=1), atol=1e-4)
    assert (lowered.min(), lowered.max()) == (0.0, pytest.approx(30.0, abs=1e-4))
    assert (
        OUTPUTS["road_hazard"].make(frame(score, street, road_prior=30.0, score_encoding="16UC1")).encoding == "16UC1"
    )
    for off in ({"road_prior": 0.0}, {"road_prior": 30.0, "on_road_only": False}):
        np.testing.assert_array_equal(OUTPUTS["road_hazard"].make(frame(score, street, **off)).pixels, score)


@pytest.mark.parametrize("name", ["semantic", "open_set", "confidence"])
def test_compressed_masks_lose_nothing(name: str) -> None:
    message = OUTPUTS[f"{name}/compressed"].make(frame())
    assert (message.format, message.header.frame_id) == ("mono8; png compressed", "camera")
    decoded = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decoded, MASK)


def test_compressed_overlay_is_the_overlay_in_its_colours() -> None:
    given = frame()
    message = OUTPUTS["overlay/compressed"].make(given)
    assert message.format == "rgb8; jpeg compressed bgr8"
    decoded = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    picture: Picture = OUTPUTS["overlay"].make(given)
    error = np.abs(decoded.astype(int) - picture.pixels).mean()
    assert error < 0.5 * np.abs(decoded[:, :, ::-1].astype(int) - picture.pixels).mean()
    assert picture.pixels is given.overlay  # made once for both


@pytest.fixture
def node(ros: None) -> Iterator[LifecycleNode]:
    node = LifecycleNode("outputs_test")
    yield node
    node.destroy_node()


@pytest.mark.parametrize(("encoding", "expected"), [("32FC1", [1.0, 0.0]), ("16UC1", [SCORE_SCALE, SCORE_OFFSET])])
def test_scale_is_there_for_who_comes_later(node: LifecycleNode, encoding: str, expected: list[float]) -> None:
    Outputs(node).offer_scale(replace(Settings(), score_encoding=encoding))
    heard: list[Any] = []
    with spinning_node("late") as late:
        topic = "/outputs_test/output/anomaly_score_scale"
        late.create_subscription(Float64MultiArray, topic, heard.append, qos(1, latched=True))
        assert wait_until(lambda: bool(heard), 30)
    assert list(heard[0].data) == expected


@pytest.mark.parametrize("name", ["semantic", "overlay"])
def test_one_switch_rules_a_topic_and_its_compressed_one(name: str, node: LifecycleNode) -> None:
    outputs = Outputs(node)
    with spinning_node("listener") as listener:
        for topic, kind in ((name, OUTPUTS[name].kind), (f"{name}/compressed", CompressedImage)):
            listener.create_subscription(kind, f"/outputs_test/output/{topic}", lambda _: None, 1)
            assert wait_until(lambda topic=topic: outputs.is_wanted(topic, Settings()), 30)
            assert not outputs.is_wanted(topic, replace(Settings(), **{f"publish_{name}": False}))
