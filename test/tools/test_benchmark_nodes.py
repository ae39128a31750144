# SPDX-License-Identifier: Apache-2.0
"""The benchmarks of the node, small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from densehybrid_ros.networks import DenseHybrid, ModelCard, build_network, save_model
from densehybrid_ros.nodes.outputs import OUTPUTS

pytestmark = pytest.mark.ros


@pytest.fixture
def model(benchmark, tmp_path: Path) -> Path:
    path = tmp_path / "seeded.safetensors"
    card = ModelCard("seeded", "light", thresholds={"low": -4.0}, default_threshold="low")
    save_model(path, DenseHybrid(build_network("light", 19)).eval(), card)
    return path


def test_messages(benchmark, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "messages.json"
    assert benchmark("messages", "--size", "64x32", "--repeats", "3", "--json", path) == 0
    figures = json.loads(path.read_text())
    assert [row["name"] for row in figures["outputs"]] == list(OUTPUTS)
    sizes = {row["name"]: row["bytes"] for row in figures["outputs"]}
    for name, bytes_a_pixel in (("semantic", 1), ("open_set", 1), ("anomaly_score", 4), ("overlay", 3)):
        assert 0 <= sizes[name] - 64 * 32 * bytes_a_pixel < 100
    assert figures["together"]["bytes"] == sum(size for name, size in sizes.items() if "/" not in name)
    assert all(row[key] > 0 for row in figures["outputs"] for key in ("fill_ms", "publish_ms", "cpu_ms"))
    printed = capsys.readouterr().out
    assert all(name in printed for name in (*OUTPUTS, "together", "without a subscriber"))


def test_memory(benchmark, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "memory.json"
    arguments = ["--frames", "10", "--warm-up", "2", "--size", "64x32", "--model", model]
    assert benchmark("memory", *arguments, "--json", path) == 0
    samples = json.loads(path.read_text())["samples"]
    assert [sample["frames"] for sample in samples] == list(range(11))
    assert all(50 < sample["rss_mib"] < 5000 for sample in samples)
    assert "MiB over 10 frames" in capsys.readouterr().out


def test_what_the_child_complains_about_is_said(benchmark, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark("memory", "--frames", "1", "--model", "nobody") == 2
    assert "model 'nobody'" in capsys.readouterr().err.splitlines()[-1]
