# SPDX-License-Identifier: Apache-2.0
"""perception.launch.py brings the node up, frames go through it, and it ends cleanly.

Runs where ROS 2's launch_testing is installed and a workspace with this package is sourced::

    colcon build && . install/setup.sh && colcon test   (or: python3 -m pytest test/launch)
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

launch_testing = pytest.importorskip("launch_testing", reason="launch_testing is not installed (it comes with ROS 2)")

NAMESPACE = "front"
CAMERA_TOPIC = "/camera/image_raw"
SIDE_INPUTS = ("camera_info", "disparity", "odometry")
HEIGHT, WIDTH = 96, 160
OUTPUTS = {"semantic": "mono8", "anomaly_score": "32FC1", "open_set": "mono8", "overlay": "rgb8"}
ENVIRONMENT = dict(os.environ)
"""As it was: launch changes that of its own process, which here is pytest's."""


def not_built() -> str:
    """Says why the launch file can't be found by its package, or nothing."""
    from ament_index_python.packages import get_package_prefix

    try:
        get_package_prefix("densehybrid_ros")
    except (LookupError, OSError):  # OSError: AMENT_PREFIX_PATH is not set
        return "no sourced workspace has densehybrid_ros: colcon build, then source install/setup.sh"
    return ""


def make_model(folder: Path) -> Path:
    """Writes a model with random weights."""
    import torch

    from densehybrid_ros.networks import DenseHybrid, ModelCard, build_network, save_model

    torch.manual_seed(0)
    card = ModelCard("random", "light", thresholds={"test": 0.0}, default_threshold="test")
    save_model(folder / "random.safetensors", DenseHybrid(build_network("light", card.num_classes)), card)
    return folder / "random.safetensors"


@pytest.mark.ros_launch
@pytest.mark.launch_test
@pytest.mark.skipif(bool(not_built()), reason=not_built())
def generate_test_description() -> Any:
    """The launch file as a user starts it, in a ROS domain of its own."""
    from launch import LaunchDescription
    from launch.actions import IncludeLaunchDescription, SetEnvironmentVariable
    from launch.launch_description_sources import PythonLaunchDescriptionSource
    from launch.substitutions import PathJoinSubstitution
    from launch_ros.substitutions import FindPackageShare
    from launch_testing.actions import ReadyToTest

    from densehybrid_ros.demo.transport import private_domain

    claim = private_domain()
    TestRunningNode.domain_id = claim.__enter__()
    TestStoppedNode.claim = claim
    TestStoppedNode.folder = Path(tempfile.mkdtemp(prefix="launch_test_"))
    model = make_model(TestStoppedNode.folder)
    perception = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([FindPackageShare("densehybrid_ros"), "launch", "perception.launch.py"])
        ),
        launch_arguments={
            "namespace": NAMESPACE,
            "image": CAMERA_TOPIC,
            **{name: f"/camera/{name}" for name in SIDE_INPUTS},
            "camera_height": "1",
            "model": str(model),
            "backend": "eager",
            "use_sim_time": "false",
        }.items(),
    )
    return LaunchDescription(
        [
            SetEnvironmentVariable("ROS_DOMAIN_ID", str(TestRunningNode.domain_id)),
            SetEnvironmentVariable("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST"),
            perception,
            ReadyToTest(),
        ]
    )


class TestRunningNode(unittest.TestCase):
    """While the node runs."""

    domain_id: int

    def test_the_node_becomes_active_and_answers_a_frame(self) -> None:
        from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
        from lifecycle_msgs.msg import State
        from lifecycle_msgs.srv import GetState
        from sensor_msgs.msg import Image

        from densehybrid_ros.demo.spinning import spinning_node, wait_until

        frame = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH)
        frame.header.frame_id = "camera_optical"
        frame.header.stamp.sec, frame.header.stamp.nanosec = 12, 345
        frame.data.frombytes(np.random.default_rng(0).integers(0, 256, HEIGHT * WIDTH * 3, np.uint8).tobytes())

        received: dict[str, Any] = {}

        def keep_alert(message: DiagnosticArray) -> None:
            if message.status[0].level != DiagnosticStatus.STALE:  # as before the first frame
                received["alert"] = message

        with spinning_node("launch_test", self.domain_id) as node:
            for name in OUTPUTS:
                topic = f"/{NAMESPACE}/perception/output/{name}"
                node.create_subscription(Image, topic, lambda message, name=name: received.update({name: message}), 1)
            topic = f"/{NAMESPACE}/perception/output/hazard_alert"
            node.create_subscription(DiagnosticArray, topic, keep_alert, 1)
            camera = node.create_publisher(Image, CAMERA_TOPIC, 1)
            state = node.create_client(GetState, f"/{NAMESPACE}/perception/get_state")

            def is_active() -> bool:
                # A request or its answer may get lost while both sides still find each other.
                answer = state.call_async(GetState.Request())
                return wait_until(answer.done, 2.0) and answer.result().current_state.id == State.PRIMARY_STATE_ACTIVE

            assert wait_until(is_active, 180.0)
            deadline = time.monotonic() + 180.0
            while len(received) < len(OUTPUTS) + 1:
                assert time.monotonic() < deadline, f"received only {sorted(received)}"
                camera.publish(frame)
                time.sleep(0.2)

            assert all(node.count_subscribers(f"/camera/{name}") == 1 for name in SIDE_INPUTS)

        for name, encoding in OUTPUTS.items():
            assert received[name].encoding == encoding
            assert (received[name].height, received[name].width) == (HEIGHT, WIDTH)
        assert all(message.header == frame.header for message in received.values())

    def test_the_process_got_the_fast_dds_profile(self, proc_info: Any) -> None:
        (process,) = (details for details in proc_info.processes())
        environment = Path(f"/proc/{process.process_details['pid']}/environ").read_bytes().split(b"\0")
        own = ENVIRONMENT.get("FASTDDS_DEFAULT_PROFILES_FILE", ENVIRONMENT.get("FASTRTPS_DEFAULT_PROFILES_FILE"))
        for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
            (value,) = (line.decode().partition("=")[2] for line in environment if line.startswith(f"{name}=".encode()))
            assert Path(value).is_file()
            assert value == own if own else value.endswith("share/densehybrid_ros/config/fastdds_profile.xml")


@launch_testing.post_shutdown_test()
class TestStoppedNode(unittest.TestCase):
    """After launch has stopped the node as Ctrl-C does."""

    claim: Any
    folder: Path

    @classmethod
    def tearDownClass(cls) -> None:
        shutil.rmtree(cls.folder)
        cls.claim.__exit__(None, None, None)
        os.environ.clear()
        os.environ.update(ENVIRONMENT)

    def test_the_node_ended_with_status_0(self, proc_info: Any) -> None:
        launch_testing.asserts.assertExitCodes(proc_info)
