# SPDX-License-Identifier: Apache-2.0
"""Children end with the process that starts them, also where that is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from densehybrid_ros.processes import ends_with_this_process

REPOSITORY = Path(__file__).resolve().parents[1]
BUILD = """
import sys, time
from pathlib import Path
import torch
from tiny_network import SIZE, tiny_model
from densehybrid_ros.inference import background_build
from densehybrid_ros.inference.engine_cache import EngineCache
from densehybrid_ros.inference.engines import EngineSpec
cache = EngineCache(tiny_model(), "tiny", torch.device("cpu"), Path(sys.argv[1]))
background_build.COMPILE_PROGRAM = sys.argv[3:]
build = background_build.BackgroundBuild(cache, EngineSpec("inductor", SIZE, "fp32"), Path(sys.argv[2]))
while build.thread.is_alive() and "waiting" not in build.progress():
    time.sleep(0.05)
print(build._process.pid, build.progress(), flush=True)
time.sleep(600)
"""
TRIAL = """
import sys
from pathlib import Path
from densehybrid_ros.inference.engines import fatal_problem
fatal_problem(Path(), -1, "import os, time; time.sleep(600)")
"""


@pytest.fixture
def environment() -> dict[str, str]:
    paths = (REPOSITORY, REPOSITORY / "test" / "inference")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}


def assert_ends(process: psutil.Process) -> None:
    deadline = time.monotonic() + 60
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"{process} goes on"
        time.sleep(0.02)


def test_a_killed_node_takes_the_build_of_its_engine_along(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "wait").touch()
    model = tmp_path / "model"
    model.touch()
    program = [sys.executable, str(REPOSITORY / "test" / "inference" / "tiny_network.py")]
    command = [sys.executable, "-c", BUILD, str(tmp_path), str(model), *program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as node:
        assert node.stdout is not None
        number, _, progress = node.stdout.readline().partition(" ")
        assert "waiting" in progress
        build = psutil.Process(int(number))
        node.kill()
        assert_ends(build)


def test_a_killed_node_takes_its_trial_load_along(environment: dict[str, str]) -> None:
    with subprocess.Popen([sys.executable, "-c", TRIAL], env=environment) as node:
        children: list[psutil.Process] = []
        while not children:
            assert node.poll() is None
            children = psutil.Process(node.pid).children()
        node.kill()
        assert_ends(children[0])


def test_a_child_of_a_parent_that_is_gone_does_not_begin(tmp_path: Path) -> None:
    command = ends_with_this_process(["touch", str(tmp_path / "begun")])
    subprocess.run(["sh", "-c", '"$@" & wait', "sh", *command], check=True)  # the shell is the parent, not this process
    assert not (tmp_path / "begun").exists()


def test_command_and_status_are_those_of_the_child() -> None:
    command = ends_with_this_process(["sh", "-c", 'echo "$0$1"; exit 7', "one  word", "*"])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (7, "one  word*\n")
