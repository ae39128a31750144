# SPDX-License-Identifier: Apache-2.0
"""How the real process starts, refuses to start, and ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_in_the_middle_of_inference(start_node: Callable[..., NodeProcess], number: int) -> None:
    """One thread needs several seconds for this frame, more than the process takes to end."""
    with start_node(threads=1, input_reliability="reliable") as node:
        node.wait_until_active()
        peer = RosPeer("/camera")
        try:
            peer.connect(("semantic",))
            before = peer.counters()["received"]
            peer.send(image_message(np.zeros((2048, 3072, 3), np.uint8), "rgb8", number=2))
            peer.wait_for(lambda: peer.counters()["received"] > before, "the large frame in the node")
            assert_clean(node, node.stop(number))
        finally:
            peer.close()


def test_signal_while_the_model_is_loaded(start_node: Callable[..., NodeProcess]) -> None:
    with start_node(threads=1, warm_up_size=[3072, 2048]) as node:
        node.wait_for_log("warming up")
        assert_clean(node, node.stop(signal.SIGTERM))


@pytest.mark.parametrize(
    ("parameters", "status", "reason"),
    [
        ({"min_hazard_area": 0}, 2, "parameter min_hazard_area: 0 is not in 1 to 2147483647"),
        ({"model": "/nowhere/model.safetensors"}, 1, "/nowhere/model.safetensors: no such file"),
    ],
)
def test_refuses_to_start_with_one_line(
    start_node: Callable[..., NodeProcess], parameters: dict[str, object], status: int, reason: str
) -> None:
    with start_node(**parameters) as node:
        with pytest.raises(InputError, match=f"ended with status {status}: ") as caught:
            node.wait_until_active()
        assert reason in str(caught.value)
        errors = [line for line in node.log().splitlines() if "[ERROR]" in line or "[FATAL]" in line]
        assert len(errors) == 1
        assert "Traceback" not in node.log()


def test_missing_parameter_file_is_named(start_node: Callable[..., NodeProcess]) -> None:
    with start_node(("--params-file", "/nowhere/perception.yaml")) as node:
        with pytest.raises(InputError, match=r"ended with status 2: .*/nowhere/perception\.yaml"):
            node.wait_until_active()
        assert "Traceback" not in node.log()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay", [0.1, 0.7, 2.0])
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


def test_enclave_that_cannot_be_kept_is_named(
    start_node: Callable[..., NodeProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys are missing, or Fast DDS is built without security; never does the node start without encryption."""
    (tmp_path / "enclaves" / "perception").mkdir(parents=True)
    security = {"KEYSTORE": str(tmp_path), "ENABLE": "true", "STRATEGY": "Enforce"}
    for name, value in security.items():
        monkeypatch.setenv(f"ROS_SECURITY_{name}", value)
    with start_node(("--enclave", "/perception")) as node:
        with pytest.raises(InputError, match=r"ended with status 2: .*(?i:security)"):
            node.wait_until_active()
        assert "Traceback" not in node.log()


def test_an_input_is_remapped_by_its_last_word() -> None:
    words = ["node", "-p", "image:=1", "-r", "image:=/x", "--remap", "odometry:=/y", "-r", "perception:image:=/z"]
    expected = [*words[:4], "~/input/image:=/x", "--remap", "~/input/odometry:=/y", *words[7:]]
    assert with_input_names(words) == expected
