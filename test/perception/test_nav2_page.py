# SPDX-License-Identifier: Apache-2.0
"""The example for the costmap in docs/nav2.md names topics and classes that there are."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.perception.settings import PARAMETERS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "nav2.md"


def test_the_example_names_every_class_once_and_outputs_of_the_node() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    costmap = yaml.safe_load(example)["local_costmap"]["local_costmap"]["ros__parameters"]
    source = costmap["segmentation_layer"]["camera"]
    names = [name for kind in source["class_types"] for name in source[kind]["classes"]]
    assert sorted(names) == sorted([*(item.name for item in CITYSCAPES_CLASSES), "unknown"])
    topics = {value for key, value in source.items() if key.endswith("_topic")}
    outputs = {f"/perception/output/{name.removeprefix('publish_')}" for name in PARAMETERS if "publish_" in name}
    assert len(topics) == 4
    assert topics - outputs == {"/perception/output/label_info"}
