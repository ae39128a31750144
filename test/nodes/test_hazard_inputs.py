"""What is known at a frame, and what is named where an input is missing or wrong; a node in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from geometry_msgs.msg import TransformStamped
from hazard_peer import CAMERA, camera_info, disparity_image
from nav_msgs.msg import Odometry
from rclpy.lifecycle import LifecycleNode
from rclpy.serialization import deserialize_message, serialize_message
from ros_peer import RosPeer
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header

from densehybrid_ros.nodes.hazard_inputs import HazardInputs, Surroundings
from densehybrid_ros.nodes.message_types import is_installed, message_class
from densehybrid_ros.perception.settings import Settings
from densehybrid_ros.perception.transforms import Transform

pytestmark = pytest.mark.ros

SIZE = (CAMERA.height, CAMERA.width)
HEADER = Header(frame_id="optical")
MOUNTED = Settings(camera_height=CAMERA.mount_height, camera_pitch=CAMERA.pitch)
WITH_BASE = Settings(base_frame="base_link")


@pytest.fixture(scope="module")
def node(ros: None) -> Iterator[LifecycleNode]:
    node = LifecycleNode("perception")
    yield node
    node.destroy_node()


@pytest.fixture
def inputs(node: LifecycleNode) -> Iterator[HazardInputs]:
    inputs = HazardInputs(node, WITH_BASE)
    yield inputs
    inputs.close()


def arrive(inputs: HazardInputs, message: object) -> None:
    """Hands a message to the subscription of its kind, as the executor does."""
    (subscription,) = [item for item in inputs._subscriptions if item.msg_type is type(message)]
    subscription.callback(deserialize_message(serialize_message(message), type(message)))


def camera_pose(height: float, turn: Rotation | None = None) -> TransformStamped:
    message = TransformStamped(child_frame_id="optical")
    message.header.frame_id = "base_link"
    message.transform.translation.x, message.transform.translation.z = 1.5, height
    turn = turn or Rotation.from_matrix(Transform.of_mount(0.0, CAMERA.pitch).rotation)
    rotation = message.transform.rotation
    rotation.x, rotation.y, rotation.z, rotation.w = map(float, turn.as_quat())
    return message


class Transforms:
    """What a tf2_msgs/TFMessage holds."""

    def __init__(self, *transforms: TransformStamped) -> None:
        self.transforms = transforms


def test_nothing_known_and_nothing_asked_for(inputs: HazardInputs) -> None:
    assert inputs.at(HEADER, SIZE, Settings()) == Surroundings()
    assert inputs.at(HEADER, SIZE, replace(Settings(), ego_speed=3.0)).ego_speed == 3.0


def test_missing_camera_info_is_named_where_the_mount_is_given(inputs: HazardInputs) -> None:
    (problem,) = inputs.at(HEADER, SIZE, MOUNTED).problems
    assert problem == "camera_info: none has arrived on /perception/input/camera_info"


def test_camera_and_mount(inputs: HazardInputs) -> None:
    arrive(inputs, camera_info())
    known = inputs.at(HEADER, SIZE, MOUNTED)
    assert known.problems == ()
    assert known.camera == replace(CAMERA, baseline=0.0, pitch=pytest.approx(CAMERA.pitch))
    assert known.mount is not None
    nowhere = inputs.at(HEADER, SIZE, Settings())
    assert nowhere.camera is None
    assert nowhere.problems[0].startswith("mount: no camera_height")


def test_disparity_without_a_mount_still_gives_a_camera(inputs: HazardInputs) -> None:
    arrive(inputs, camera_info())
    arrive(inputs, disparity_image(np.full(SIZE, 8.0, np.float32), HEADER, focal=2 * CAMERA.fx, baseline=0.2))
    known = inputs.at(HEADER, SIZE, Settings())
    assert known.problems == ()
    assert known.disparity is not None
    assert known.camera is not None
    assert known.camera.fx * known.camera.baseline == pytest.approx(2 * CAMERA.fx * 0.2)
    later = Header(frame_id="optical")
    later.stamp.sec = 1
    late = inputs.at(later, SIZE, MOUNTED)
    assert late.disparity is None
    assert late.camera is not None  # the ground plane is left
    assert late.problems[0].startswith("disparity: none within 0.05 s of the frame")


def test_transforms_give_the_mount(inputs: HazardInputs) -> None:
    arrive(inputs, camera_info())
    missing = inputs.at(HEADER, SIZE, WITH_BASE)
    assert missing.problems[0].startswith("tf: no transforms connect 'optical' with 'base_link'")
    inputs.store_transforms(Transforms(camera_pose(1.4)))
    known = inputs.at(HEADER, SIZE, WITH_BASE)
    assert known.problems == ()
    assert known.camera is not None
    assert (known.camera.mount_height, known.camera.pitch) == pytest.approx((1.4, CAMERA.pitch))
    assert known.mount is not None
    assert known.mount.frame == "base_link"


def test_bad_transforms_are_named_and_the_parameters_count(inputs: HazardInputs) -> None:
    arrive(inputs, camera_info())
    bad = camera_pose(float("nan"))
    inputs.store_transforms(Transforms(bad))
    known = inputs.at(HEADER, SIZE, replace(MOUNTED, base_frame="base_link"))
    assert "from 'optical' to 'base_link' has a number that is not finite" in known.problems[0]
    assert known.camera is not None
    assert known.camera.mount_height == CAMERA.mount_height


def test_odometry_outdates(inputs: HazardInputs) -> None:
    message = Odometry()
    message.twist.twist.linear.x = 12.5
    arrive(inputs, message)
    assert inputs.at(HEADER, SIZE, Settings()).ego_speed == 12.5
    old = inputs.at(HEADER, SIZE, replace(Settings(), source_timeout=0.0, ego_speed=4.0))
    assert old.ego_speed == 4.0
    assert old.problems[0].startswith("odometry: nothing for ")


@pytest.mark.skipif(not is_installed("tf2_msgs/msg/TFMessage"), reason="tf2_msgs is not installed")
def test_latched_transforms_arrive_over_dds(ros: None, node: LifecycleNode) -> None:
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.qos import DurabilityPolicy, QoSProfile

    peer = RosPeer("/camera")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        kind = message_class("tf2_msgs/msg/TFMessage")
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        peer.node.create_publisher(kind, "/tf_static", latched).publish(kind(transforms=[camera_pose(1.4)]))
        inputs = HazardInputs(node, WITH_BASE)  # after it was sent

        def is_known() -> bool:
            executor.spin_once(timeout_sec=0.05)
            return inputs.at(HEADER, SIZE, WITH_BASE).mount is not None

        peer.wait_for(is_known, "the transform")
        inputs.close()
    finally:
        executor.remove_node(node)
        executor.shutdown()
        peer.close()
