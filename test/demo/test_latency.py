# SPDX-License-Identifier: Apache-2.0
"""The latency measurement: its figures from known times, and a small real run from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from densehybrid_ros.cli.main import main
from densehybrid_ros.demo.latency import ANSWERS, STAGES, figures, table
from densehybrid_ros.demo.topics import ALERT_TOPIC, OPEN_SET_TOPIC, SCORE_TOPIC, SEMANTIC_TOPIC
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
    options = ["--size", "64x32", "--rates", "5", "--seconds", "2", "--backend", "eager"]
    assert main(["benchmark", "node", *options, "--json", str(path)]) == 0
    relay, node = json.loads(path.read_text())["rows"]
    assert (relay["subject"], node["subject"], relay["sent"], node["sent"]) == ("relay", "node", 10, 10)
    assert relay["answered"] > 0
    assert node["answered"] > 0
    assert min(node["stages_ms"].values()) > 0
    assert node["alert_ratio"] == pytest.approx(node["alert_median_ms"] / relay["alert_median_ms"])
    assert table([relay, node]) in capsys.readouterr().out


@pytest.mark.ros
def test_several_cameras_are_measured_in_one_process_and_in_several(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    path = tmp_path / "cameras.json"
    options = ["--cameras", "2", "--size", "64x32", "--rates", "2", "--seconds", "2", "--backend", "eager"]
    assert main(["benchmark", "node", *options, "--json", str(path)]) == 0
    one, several = rows = json.loads(path.read_text())["rows"]
    assert (one["subject"], several["subject"]) == ("one process", "2 processes")
    for row in rows:
        assert row["sent"] == 8
        assert row["answered_hz"] == row["answered"] / 2 > 0
        assert row["alert_median_ms"] > 0
    assert 0 < one["memory_mib"] < several["memory_mib"]
    assert table(rows) in capsys.readouterr().out
