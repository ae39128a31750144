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
            assert launch.stdout is not None
            lines = [*takewhile(lambda line: "autostart is off" not in line, launch.stdout)]
            nodes = psutil.Process(launch.pid).children(recursive=True)
            assert len(nodes) == 1, "".join(lines)
            yield launch, nodes[0]
        finally:
            for process in (*nodes, launch):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            launch.communicate()


def test_interrupt_ends_launch_and_node_with_status_0(running: tuple[subprocess.Popen, psutil.Process]) -> None:
    launch, node = running
    launch.send_signal(signal.SIGINT)
    output, _ = launch.communicate(timeout=60)
    assert launch.returncode == 0, output
    assert "process has finished cleanly" in output
    assert not node.is_running()


def test_termination_of_launch_alone_takes_the_node_along(
    running: tuple[subprocess.Popen, psutil.Process],
) -> None:
    launch, node = running
    launch.send_signal(signal.SIGTERM)
    # Until launch's own pipe ends: its last holder is the node.
    launch.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while node.is_running() and node.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("argument", ["params_file:=missing.yaml", "fastdds_profile:=missing.xml"])
def test_a_missing_file_is_named(launch_file: Path, argument: str) -> None:
    launch = start(launch_file, argument)
    output, _ = launch.communicate(timeout=60)
    assert launch.returncode == 1
    assert f"{argument}: no such file; give the path of an existing one" in output
    assert "Traceback" not in output
    assert "process started" not in output


def test_a_word_that_is_no_boolean_is_named(launch_file: Path) -> None:
    launch = start(launch_file, "use_sim_time:=perhaps")
    output, _ = launch.communicate(timeout=60)
    assert launch.returncode == 1
    assert 'Argument "use_sim_time" provided value "perhaps" is not valid' in output
