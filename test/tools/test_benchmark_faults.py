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
from fault_messages import compressed_image, raw_image


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


def test_files_and_command_lines(benchmark, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "faults.json"
    arguments = ["--only", "bags", "--only", "models", "--only", "commands", "--scale", "tiny", "--json", path]
    assert benchmark("faults", *arguments) == 0
    figures = json.loads(path.read_text())
    assert {row["group"]: row["tried"] for row in figures["groups"]} == {"bags": 2, "models": 2, "commands": 2}
    assert "nothing fell (seed 1)" in capsys.readouterr().out


@pytest.mark.ros
@pytest.mark.skipif(importlib.util.find_spec("rclpy") is None, reason="ROS 2 is not installed")
def test_node(benchmark, tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    groups = [word for name in ("raw", "side") for word in ("--only", name)]
    benchmark("faults", *groups, "--scale", "tiny", "--json", path)
    rows = {row["group"]: row for row in json.loads(path.read_text())["groups"]}
    assert {name: row["tried"] for name, row in rows.items()} == {"raw": 20, "side": 5}
    assert all(row["answers"] and not row["crashes"] and not row["wrong"] for row in rows.values())
    assert "22 sent = 22" in rows["raw"]["remarks"]["frames"]
