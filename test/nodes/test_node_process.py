# SPDX-License-Identifier: Apache-2.0
"""How the real process starts, refuses to start, and ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from ros_peer import RosPeer, image_message

from densehybrid_ros.demo.node_process import NodeProcess
from densehybrid_ros.demo.spinning import wait_until
from densehybrid_ros.errors import InputError
from densehybrid_ros.nodes.perception_node import with_input_names

pytestmark = pytest.mark.ros

BAD_ENDS = ("terminate called", "Traceback", "Aborted", "core dumped", "Segmentation", "[ERROR]", "[FATAL]")


def assert_clean(node: NodeProcess, status: int) -> None:
    log = node.log()
    assert status == 0, log
    assert not [line for line in log.splitlines() if any(word in line for word in BAD_ENDS)], log


def test_interrupt_in_the_middle_of_inference(start_node: Callable[..., NodeProcess]) -> None:
    """One thread needs several seconds for this frame, more than the process takes to end."""
    with start_node(threads=1, input_reliability="reliable") as node:
        node.wait_until_active()
        with closing(RosPeer("/camera")) as peer:
            peer.connect(("semantic",))
            before = peer.counters()["received"]
            peer.send(image_message(np.zeros((2048, 3072, 3), np.uint8), "rgb8", number=2))
            peer.wait_for(lambda: peer.counters()["received"] > before, "the large frame in the node")
            assert_clean(node, node.stop(signal.SIGINT))


def test_signal_while_the_model_is_loaded(start_node: Callable[..., NodeProcess]) -> None:
    with start_node(threads=1, warm_up_size=[3072, 2048]) as node:
        node.wait_for_log("warming up")
        assert_clean(node, node.stop(signal.SIGTERM))


@pytest.mark.parametrize(
    ("arguments", "parameters", "reason"),
    [
        ((), {"min_hazard_area": 0}, "status 2: parameter min_hazard_area: 0 is not in 1 to 2147483647"),
        ((), {"model": "/nowhere/model.safetensors"}, "status 1: model /nowhere/model.safetensors: no such file"),
        (("--params-file", "/nowhere/perception.yaml"), {}, r"status 2: .*/nowhere/perception\.yaml"),
        (("--enclave", "/perception"), {}, r"status 2: .*(?i:security)"),
    ],
)
def test_refuses_to_start_with_one_line(
    start_node: Callable[..., NodeProcess],
    arguments: tuple[str, ...],
    parameters: dict[str, object],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of an enclave the keys are missing, or Fast DDS is built without security: never without encryption then."""
    if "--enclave" in arguments:
        (tmp_path / "enclaves" / "perception").mkdir(parents=True)
        for name, value in {"KEYSTORE": str(tmp_path), "ENABLE": "true", "STRATEGY": "Enforce"}.items():
            monkeypatch.setenv(f"ROS_SECURITY_{name}", value)
    with start_node(arguments, **parameters) as node:
        with pytest.raises(InputError, match=f"ended with {reason}"):
            node.wait_until_active()
        errors = [line for line in node.log().splitlines() if line.startswith(("[ERROR]", "[FATAL]"))]
        errors = [line for line in errors if "[rcl]" not in line]  # what ROS itself says before
        assert len(errors) == 1
        assert "Traceback" not in node.log()


@pytest.mark.parametrize(("number", "delay"), [(signal.SIGTERM, 0.1), (signal.SIGINT, 0.7)])
def test_signal_while_ros_and_torch_load(
    start_node: Callable[..., NodeProcess], number: signal.Signals, delay: float
) -> None:
    with start_node(autostart=False) as node:
        status = Path(f"/proc/{node.process.pid}/status")
        # The interpreter itself handles SIGINT alone: SIGTERM tells that the first line of main has run.
        assert wait_until(lambda: handles(status.read_text(), signal.SIGTERM), 60)
        time.sleep(delay)
        assert_clean(node, node.stop(number))


def handles(process_status: str, number: signal.Signals) -> bool:
    (line,) = (line for line in process_status.splitlines() if line.startswith("SigCgt"))
    return bool(int(line.split()[1], 16) >> number - 1 & 1)


def test_an_input_is_remapped_by_its_last_word() -> None:
    words = ["node", "-p", "image:=1", "-r", "image:=/x", "--remap", "odometry:=/y", "-r", "perception:image:=/z"]
    expected = [*words[:4], "~/input/image:=/x", "--remap", "~/input/odometry:=/y", *words[7:]]
    assert with_input_names(words) == expected
