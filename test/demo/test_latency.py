# SPDX-License-Identifier: Apache-2.0
"""The latency measurement: its figures from known times, and a small real run from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from densehybrid_ros.cli.main import main
from densehybrid_ros.demo.latency import ANSWERS, STAGES, _subjects, figures, table
from densehybrid_ros.demo.transport import ALERT_TOPIC, OPEN_SET_TOPIC, SCORE_TOPIC, SEMANTIC_TOPIC
from densehybrid_ros.errors import InputError

MS = 1_000_000


def heard(answered: range, **diagnostics: str) -> dict[str, Any]:
    """The alert comes after 2 ms, the masks after 3 and 5, the score after 9."""
    delays = {ALERT_TOPIC: 2, SEMANTIC_TOPIC: 3, OPEN_SET_TOPIC: 5, SCORE_TOPIC: 9}
    times = {topic: [[n * MS, (n + delay) * MS] for n in answered] for topic, delay in delays.items()}
    return times | {"diagnostics": diagnostics}


def test_figures_are_of_the_counted_pictures() -> None:
    own = {f"{key}_p50_ms": "1.5" for key in STAGES.values()}
    found = figures([n * MS for n in range(10, 20)], heard(range(12, 40), **own))
    assert (found["sent"], found["answered"], found["stages_ms"]["network"]) == (10, 8, 1.5)
    medians = {name: found[f"{name}_median_ms"] for name in ANSWERS}
    assert medians == {"alert": 2.0, "masks": 5.0, "score": 9.0}
    assert found["alert_p99_ms"] == 2.0


def test_no_answer_is_said() -> None:
    with pytest.raises(InputError, match="no alert came for 2 pictures"):
        figures([1, 2], heard(range(0)))


@pytest.mark.ros
def test_node_and_relay_are_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    path = tmp_path / "node.json"
    options = ["--size", "64x32", "--rates", "5", "--seconds", "1", "--backend", "eager"]
    assert main(["benchmark", "node", *options, "--json", str(path)]) == 0
    relay, node = json.loads(path.read_text())["rows"]
    assert (relay["subject"], node["subject"], relay["sent"], node["sent"]) == ("relay", "node", 5, 5)
    assert relay["answered"] > 0
    assert node["answered"] > 0
    assert min(node["stages_ms"].values()) > 0
    assert node["alert_ratio"] == pytest.approx(node["alert_median_ms"] / relay["alert_median_ms"])
    assert table([relay, node]) in capsys.readouterr().out


def test_several_cameras_go_through_one_process_and_through_several() -> None:
    one, several = _subjects({}, 2, {})
    assert (one[0], len(one[1]), one[2]) == ("one process", 1, ["/perception/camera_0", "/perception/camera_1"])
    assert (several[0], len(several[1]), several[2][1]) == ("2 processes", 2, "/camera_1/perception")
