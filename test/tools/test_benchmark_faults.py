# SPDX-License-Identifier: Apache-2.0
"""The campaign of faults, small: that it counts, repeats, and knows which of its messages are damaged."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from random import Random

import pytest

from densehybrid_ros.bags.messages import COMPRESSED_IMAGE, IMAGE, typestore
from densehybrid_ros.perception.images import rgb_from_message
from fault_messages import compressed_image, raw_image, side_message
from fault_tally import Plan, Tally, within


@pytest.mark.parametrize(("draw", "kind"), [(raw_image, IMAGE), (compressed_image, COMPRESSED_IMAGE)])
def test_campaign_knows_what_must_be_seen_and_what_is_right(draw, kind: str) -> None:
    judged = {True: 0, False: 0}
    for case in range(150):
        damaged = draw(Random(case), case)
        assert damaged == draw(Random(case), case)
        if "calls itself" in damaged.what or "with its end" in damaged.what:
            continue  # what it costs to read them is the node's affair
        try:
            rgb_from_message(typestore().deserialize_cdr(damaged.data, kind))
        except Exception:
            assert not damaged.is_good, damaged.what
        else:
            assert not damaged.is_seen, damaged.what
        judged[damaged.is_seen] += 1
    assert min(judged.values()) > 10


def test_side_messages_are_of_all_kinds() -> None:
    assert {side_message(Random(case), case).topic for case in range(30)} == {"camera_info", "disparity", "odometry"}


def test_cases_depend_on_seed_group_and_number_alone() -> None:
    plan = Plan(3, 0.001)
    assert list(plan.numbers(20_000)) == list(range(20))
    assert list(Plan(3, 0.001, 77).numbers(20_000)) == [77]
    assert plan.random("raw", 5).random() == Plan(3, 1.0, 5).random("raw", 5).random()
    assert plan.random("raw", 5).random() != plan.random("side", 5).random()


def test_what_falls_is_counted_and_told() -> None:
    tally = Tally("raw")
    for case in range(40):
        tally.fell("wrong", f"case {case}")
    assert (tally.wrong, tally.fallen, tally.notes[0]) == (40, 40, "wrong: case 0")
    assert not tally.is_hopeless
    for case in range(20):
        tally.fell("unanswered", f"case {case}")
    assert tally.is_hopeless


def test_what_hangs_is_interrupted() -> None:
    with pytest.raises(TimeoutError):
        within(1, lambda: [None for _ in iter(int, 1)])


def test_files_and_command_lines(benchmark, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "faults.json"
    arguments = ["--only", "bags", "--only", "models", "--only", "commands", "--scale", "tiny", "--json", path]
    assert benchmark("faults", *arguments) == 0
    figures = json.loads(path.read_text())
    assert {row["group"]: row["tried"] for row in figures["groups"]} == {"bags": 2, "models": 2, "commands": 2}
    assert "nothing fell (seed 1)" in capsys.readouterr().out


def test_status_is_1_where_something_fell() -> None:
    fell = importlib.import_module("faults").fell
    assert (fell({"fallen": 0}), fell({"fallen": 3})) == (0, 1)


@pytest.mark.ros
@pytest.mark.skipif(importlib.util.find_spec("rclpy") is None, reason="ROS 2 is not installed")
def test_node(benchmark, tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    groups = [word for name in ("raw", "side", "parameters") for word in ("--only", name)]
    benchmark("faults", *groups, "--scale", "tiny", "--json", path)
    rows = {row["group"]: row for row in json.loads(path.read_text())["groups"]}
    assert {name: row["tried"] for name, row in rows.items()} == {"raw": 20, "side": 5, "parameters": 2}
    assert all(row["answers"] and not row["crashes"] and not row["wrong"] for row in rows.values())
    assert "22 sent = 22" in rows["raw"]["remarks"]["frames"]
