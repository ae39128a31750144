# SPDX-License-Identifier: Apache-2.0
"""The layouts of Foxglove and RViz show topics, and values in them, that the node publishes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import some_hazards
import yaml

pytest.importorskip("rclpy")

from builtin_interfaces.msg import Time

from densehybrid_ros.nodes.diagnostics import DiagnosticsReport, FrameStatistics
from densehybrid_ros.nodes.outputs import OUTPUTS
from densehybrid_ros.perception.alert import hazard_alert

pytestmark = pytest.mark.ros

CONFIG = Path(__file__).resolve().parents[2] / "config"
PUBLISHED = {f"/perception/output/{name}" for name in (*OUTPUTS, "hazard_alert")} | {"/diagnostics"}
PATH = re.compile(r"([/a-z_]+)\.status\[(?:0|:)\](?:\{name==\"(.+?)\"\})?\.values\[:\]\{key==\"(\w+)\"\}\.value")


@pytest.fixture(scope="module")
def foxglove() -> dict[str, Any]:
    layout: dict[str, Any] = json.loads((CONFIG / "foxglove/perception.json").read_text(encoding="utf-8"))
    return layout


def plotted(layout: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Topic, name of the status and key of every line that is plotted."""
    panels = [panel for name, panel in layout["configById"].items() if name.startswith("Plot!")]
    matches = [PATH.fullmatch(path["value"]) for panel in panels for path in panel["paths"]]
    return [(match[1], match[2] or "", match[3]) for match in matches if match]


def test_every_panel_has_its_place_and_its_settings(foxglove: dict[str, Any]) -> None:
    placed = re.findall(r'"([A-Za-z0-9]+![a-z]+)"', json.dumps(foxglove["layout"]))
    assert sorted(placed) == sorted(foxglove["configById"])
    assert {"Image", "3D", "DiagnosticSummary", "Plot", "Parameters"} == {name.split("!")[0] for name in placed}


def test_every_topic_is_published(foxglove: dict[str, Any]) -> None:
    rviz = yaml.safe_load((CONFIG / "rviz/perception.rviz").read_text(encoding="utf-8"))
    displays = [display for display in rviz["Visualization Manager"]["Displays"] if "Topic" in display]
    topics = {display["Topic"]["Value"] for display in displays}
    assert {"/perception/output/overlay", "/perception/output/hazard_markers"} <= topics
    topics |= set(re.findall(r'"(/[a-z_/]+)[".]', json.dumps(foxglove)))
    assert topics <= PUBLISHED


def test_every_value_that_is_plotted_is_there(foxglove: dict[str, Any]) -> None:
    lines = plotted(foxglove)
    assert len(lines) == sum(len(panel.get("paths", ())) for panel in foxglove["configById"].values())
    statistics = FrameStatistics(lambda: 1.0)
    for kind in ("latency", "inference"):
        statistics.add_time(kind, 0.1)
    known = {"lifecycle_state": "active"}
    (report,) = DiagnosticsReport("/perception", statistics).make(known, "/camera", None, Time()).status
    alert = hazard_alert(some_hazards.FRAME, (), "camera", None, None, -3.0, (100, 200))
    known = {"/perception/output/hazard_alert": {"": set(alert.summary.values)}}
    known["/diagnostics"] = {report.name: {pair.key for pair in report.values}}
    for topic, name, key in lines:
        assert key in known[topic][name]
