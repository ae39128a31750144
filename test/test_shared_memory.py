# SPDX-License-Identifier: Apache-2.0
"""What killed processes leave in /dev/shm is removed, what a live one uses is not; a missing segment is noticed."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from densehybrid_ros import shared_memory
from densehybrid_ros.shared_memory import SHARED_MEMORY, files_in_use, missing_segment, remove_dead_segments

DEAD, MAPPED, LOCKED = (f"fastrtps_{digit * 16}" for digit in "abc")
KEPT = ("fastrtps_port7411", "sem.fastrtps_port7411_mutex", "other", "fastrtps_short")
NODE = "import rclpy, time; rclpy.init(); node = rclpy.create_node('x'); print(flush=True); time.sleep(600)"
SHM = "<dds><type>SHM</type><segment_size>{}</segment_size></dds>"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", tmp_path)
    return tmp_path


def test_only_segments_that_nobody_owns_or_uses_are_removed(folder: Path) -> None:
    for name in (DEAD, MAPPED, LOCKED, f"{DEAD}_el", f"{MAPPED}_el", f"{LOCKED}_el", *KEPT):
        (folder / name).write_bytes(bytes(8192))
    with (folder / MAPPED).open("rb"), (folder / f"{LOCKED}_el").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert remove_dead_segments() == 8192
    names = {path.name for path in folder.iterdir()}
    assert names == {MAPPED, LOCKED, f"{MAPPED}_el", f"{LOCKED}_el", *KEPT}


@pytest.fixture
def start_node() -> Iterator[Callable[[], subprocess.Popen[str]]]:
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    from densehybrid_ros.demo.transport import private_domain, tidy_shared_memory, transport_environment

    nodes: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", NODE]
        node = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=transport_environment(domain))
        nodes.append(node)
        assert node.stdout is not None
        assert node.stdout.readline()
        return node

    with private_domain() as domain, tidy_shared_memory():
        yield start
        for node in nodes:
            node.kill()
            node.communicate()


def own_segments(node: subprocess.Popen[str]) -> set[Path]:
    """Those whose lock file the process holds open."""
    locks = {path.name for path in files_in_use(str(node.pid)) if path.name.endswith("_el")}
    return {SHARED_MEMORY / name.removesuffix("_el") for name in locks if "port" not in name}


@pytest.mark.ros
def test_segments_of_a_killed_node_go_and_those_of_a_live_one_stay(
    start_node: Callable[[], subprocess.Popen[str]],
) -> None:
    killed = start_node()
    left = own_segments(killed)
    assert sum(path.stat().st_size for path in left) > 2**25
    killed.kill()
    killed.wait()
    assert all(path.exists() for path in left)
    live = start_node()
    kept = own_segments(live)
    remove_dead_segments()  # the node of this package does so at its start
    assert kept
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in left - files_in_use(str(live.pid)))


def test_a_missing_segment_is_told_with_the_mend(folder: Path) -> None:
    profile = folder / "profile.xml"
    profile.write_text(SHM.format(4096))
    environment = {"FASTDDS_DEFAULT_PROFILES_FILE": str(profile)}
    said = missing_segment(environment)
    assert said.startswith("images go by UDP: ")
    assert "--shm-size=1g" in said
    small = folder / DEAD  # as that of another transport
    small.write_bytes(bytes(100))
    with small.open("rb"):
        assert missing_segment(environment) == said
    small.write_bytes(bytes(4096))
    with small.open("rb"):
        assert missing_segment(environment) == ""


def test_who_wants_no_shared_memory_misses_none(folder: Path) -> None:
    profile = folder / "profile.xml"
    profile.write_text("<dds><type>UDPv4</type></dds>")
    assert missing_segment({"FASTRTPS_DEFAULT_PROFILES_FILE": str(profile)}) == ""
    assert missing_segment({"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}) == ""
    assert missing_segment({})
