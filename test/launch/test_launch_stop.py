# SPDX-License-Identifier: Apache-2.0
"""Stopping ``ros2 launch`` leaves no node behind, and wrong arguments are named in one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

import psutil
import pytest

from densehybrid_ros.demo.transport import private_domain

launch_actions = pytest.importorskip("launch.actions", reason="launch is not installed (it comes with ROS 2)")
pytestmark = pytest.mark.ros_launch

START = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

service = LaunchService(noninteractive=True)
arguments = [tuple(word.split(":=", 1)) for word in sys.argv[2:]]
source = PythonLaunchDescriptionSource(sys.argv[1])
service.include_launch_description(
    LaunchDescription([IncludeLaunchDescription(source, launch_arguments=arguments)])
)
sys.exit(service.run())
"""
"""What ``ros2 launch FILE NAME:=VALUE ...`` does."""


SET_PARAMETERS = """
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import SetParameter

def generate_launch_description():
    source = PythonLaunchDescriptionSource({file!r})
    return LaunchDescription([SetParameter("autostart", False), IncludeLaunchDescription(source)])
"""


@pytest.fixture
def launch_file() -> Path:
    from ament_index_python.packages import get_package_share_directory

    try:
        share = get_package_share_directory("densehybrid_ros")
    except (LookupError, OSError):  # OSError: AMENT_PREFIX_PATH is not set
        pytest.skip("no sourced workspace has densehybrid_ros: colcon build, then source install/setup.sh")
    return Path(share) / "launch" / "perception.launch.py"


def start(launch_file: Path, *arguments: str, domain_id: int = 0) -> subprocess.Popen:
    transport = {"ROS_DOMAIN_ID": str(domain_id), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    return subprocess.Popen(
        [sys.executable, "-c", START, str(launch_file), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # away from a shell that makes background jobs ignore SIGINT
        env={**os.environ, **transport, "PYTHONUNBUFFERED": "1"},
    )


@pytest.fixture
def running(launch_file: Path) -> Iterator[tuple[subprocess.Popen, psutil.Process]]:
    """Launch and the node that it started, which waits unconfigured."""
    with private_domain() as domain_id:
        launch = start(launch_file, "autostart:=false", domain_id=domain_id)
        nodes = []
        try:
            lines = lines_before("autostart is off", launch)
            nodes = psutil.Process(launch.pid).children(recursive=True)
            assert len(nodes) == 1, "".join(lines)
            yield launch, nodes[0]
        finally:
            for process in (*nodes, launch):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            launch.communicate()


def lines_before(text: str, launch: subprocess.Popen) -> list[str]:
    """Waits until launch or one of its processes has written ``text``."""
    assert launch.stdout is not None
    return [*takewhile(lambda line: text not in line, launch.stdout)]


def run_to_end(launch_file: Path, *arguments: str) -> tuple[int, str]:
    with private_domain() as domain_id:
        launch = start(launch_file, *arguments, domain_id=domain_id)
        output, _ = launch.communicate(timeout=120)
    return launch.returncode, output


def test_interrupt_ends_launch_and_node_with_status_0(running: tuple[subprocess.Popen, psutil.Process]) -> None:
    launch, node = running
    environment = node.environ()
    profiles = {environment[f"{name}_DEFAULT_PROFILES_FILE"] for name in ("FASTDDS", "FASTRTPS")}
    assert all(Path(profile).is_file() for profile in profiles)
    assert len(profiles) == 1
    launch.send_signal(signal.SIGINT)
    output, _ = launch.communicate(timeout=60)
    assert launch.returncode == 0, output
    assert "process has finished cleanly" in output
    assert not node.is_running()


def test_termination_of_launch_alone_takes_the_node_along(running: tuple[subprocess.Popen, psutil.Process]) -> None:
    launch, node = running
    launch.send_signal(signal.SIGTERM)
    # Until launch's own pipe ends: its last holder is the node.
    launch.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while node.is_running() and node.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("file", "argument", "mend"),
    [
        ("perception", "params_file:=missing.yaml", "no such file; give the path of an existing one"),
        ("perception", "fastdds_profile:=missing.xml", "no such file; give the path of an existing one"),
        ("perception", "use_sim_time:=perhaps", "write true or false"),
        ("perception", "camera_height:=nan", "write a number such as 1.5"),
        ("multi_camera", "cameras:=front,front", "write different names"),
        ("multi_camera", "cameras:=my camera", "write different names"),
        ("replay", "bag:=/nowhere", "no such recording; give the path of an existing one"),
    ],
)
def test_a_wrong_value_is_named(launch_file: Path, file: str, argument: str, mend: str) -> None:
    status, output = run_to_end(launch_file.with_name(f"{file}.launch.py"), argument)
    assert status == 1
    assert f"{argument}: {mend}" in output
    assert "Traceback" not in output
    assert "process started" not in output


@pytest.mark.parametrize(("required", "status"), [("True", 1), ("false", 0)])
def test_launch_ends_with_the_failure_of_the_node_that_it_requires(
    launch_file: Path, required: str, status: int
) -> None:
    wrong = ("model:=/nowhere.safetensors", "imgae:=/x", "use_sim_time:=TRUE", f"required:={required}")
    ended, output = run_to_end(launch_file, *wrong)
    assert ended == status, output
    assert ("perception_node-1 ended with status 1" in output) == bool(status)
    assert "no argument 'imgae'; did you mean 'image'?" in output


def test_parameters_of_an_enclosing_launch_file_reach_the_node(launch_file: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer.launch.py"
    outer.write_text(SET_PARAMETERS.format(file=str(launch_file)))
    with private_domain() as domain_id:
        launch = start(outer, domain_id=domain_id)
        lines = lines_before("autostart is off", launch)
        launch.send_signal(signal.SIGINT)
        output, _ = launch.communicate(timeout=60)
    assert launch.returncode == 0, [*lines, output]


@pytest.mark.parametrize("one_process", [False, True])
def test_every_camera_has_a_node_in_its_namespace_or_topics_in_one(launch_file: Path, one_process: bool) -> None:
    several = launch_file.with_name("multi_camera.launch.py")
    options = ("cameras:=front,left", f"one_process:={str(one_process).lower()}", "autostart:=false", "image:=raw")
    with private_domain() as domain_id:
        launch = start(several, *options, domain_id=domain_id)
        try:
            for _ in range(1 if one_process else 2):
                lines_before("autostart is off", launch)
            commands = [" ".join(node.cmdline()) for node in psutil.Process(launch.pid).children(recursive=True)]
        finally:
            launch.send_signal(signal.SIGINT)
            output, _ = launch.communicate(timeout=60)
    assert launch.returncode == 0, output
    assert len(commands) == (1 if one_process else 2)
    for camera in ("front", "left"):
        (command,) = commands if one_process else (each for each in commands if f"__ns:=/{camera} " in each)
        own = f"~/{camera}" if one_process else "~"
        assert f"{own}/input/image:=/{camera}/raw" in command
        assert f"{own}/input/camera_info:=/{camera}/camera_info" in command
        assert not one_process or f"{own}/input/disparity" not in command


def test_a_camera_of_one_process_needs_a_name_without_namespace(launch_file: Path) -> None:
    status, output = run_to_end(launch_file, "cameras:=rig/front,left")
    assert status == 1
    assert "parameter cameras: 'rig/front' is no name of a camera" in output


def test_the_player_starts_when_the_node_is_active(launch_file: Path, tmp_path: Path) -> None:
    """A program ``ros2`` of its own stands in for the player, which comes with ROS 2's rosbag2."""
    player = tmp_path / "ros2"
    player.write_text('#!/bin/sh\necho "player got: $*"\n')
    player.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        fast = ("model:=light", "backend:=eager")
        status, output = run_to_end(launch_file.with_name("replay.launch.py"), f"bag:={tmp_path}", *fast)
    assert status == 0, output
    before, _, after = output.partition("]: active: ")
    assert f"player got: bag play {tmp_path} --clock" in after
    assert "player" not in before
