# SPDX-License-Identifier: Apache-2.0
"""Domains, the environment of child processes, and what is left in shared memory."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from densehybrid_ros import shared_memory
from densehybrid_ros.demo import transport


def test_domains_are_not_given_twice() -> None:
    with transport.private_domain() as first, transport.private_domain() as second:
        assert first != second
        assert {first, second} <= set(range(1, 102))
        script = f"from densehybrid_ros.demo.transport import _claim; print(_claim({first}) is None)"
        command = [sys.executable, "-c", script]  # nor to another process
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True\n"


def test_environment_of_children() -> None:
    environment = transport.transport_environment(42)
    profile = Path(environment["FASTRTPS_DEFAULT_PROFILES_FILE"])
    assert environment["FASTDDS_DEFAULT_PROFILES_FILE"] == str(profile)
    assert ElementTree.parse(profile).getroot().tag.endswith("dds")
    assert environment["ROS_DOMAIN_ID"] == "42"
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert environment["PATH"] == os.environ["PATH"]


def test_only_stale_files_that_came_up_meanwhile_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", tmp_path)
    before, stale, lock, used, other = (
        tmp_path / name
        for name in ("fastrtps_before", "fastdds_stale", "sem.fastrtps_port7411_mutex", "fastrtps_used", "other")
    )
    before.touch()
    with transport.tidy_shared_memory():
        for path in (stale, lock, used, other):
            path.write_bytes(b"x")
        user = subprocess.Popen(["sleep", "60"], stdin=used.open("rb"))
    try:
        assert [path.exists() for path in (before, stale, lock, used, other)] == [True, False, False, True, True]
    finally:
        user.kill()
        user.wait()
