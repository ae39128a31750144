"""What goes wrong with a frame is counted, and never ends the worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.lifecycle import LifecycleNode
from ros_peer import image_message

from densehybrid_ros.inference import Segmenter
from densehybrid_ros.networks import load_model
from densehybrid_ros.nodes.alert_watch import AlertTopic
from densehybrid_ros.nodes.frame_processor import FrameProcessor, IncomingFrame, Model
from densehybrid_ros.nodes.hazard_inputs import Surroundings
from densehybrid_ros.nodes.hazard_stage import HazardStage
from densehybrid_ros.nodes.outputs import OUTPUTS, Outputs
from densehybrid_ros.nodes.statistics import FrameStatistics
from densehybrid_ros.perception.settings import Settings

pytestmark = pytest.mark.ros


class FragilePipeline(Segmenter):
    """Runs out of memory on frames of 64 rows, which is not to be had on request."""

    def __call__(self, image: np.ndarray, threshold: float) -> Any:
        if len(image) == 64:
            raise RuntimeError("CUDA out of memory")
        return super().__call__(image, threshold)


def processor(
    node: LifecycleNode, segmenter: Segmenter, statistics: FrameStatistics, outputs: Outputs | None = None
) -> FrameProcessor:
    alert, settings = AlertTopic(node), Settings(anomaly_threshold=-3.0)
    stage = HazardStage(segmenter.card, lambda *_: Surroundings(), statistics)
    outputs = outputs or Outputs(node, alert)
    return FrameProcessor(node, Model(segmenter), stage, outputs, alert, statistics, lambda: settings)


@pytest.fixture
def node(ros: None) -> Iterator[LifecycleNode]:
    node = LifecycleNode("processor_test")
    yield node
    node.destroy_node()


def test_failures_and_rejections_are_counted_apart(node: LifecycleNode, seeded_model: Path) -> None:
    statistics = FrameStatistics()
    segmenter = FragilePipeline(load_model(seeded_model), "eager", "cpu")
    process = processor(node, segmenter, statistics)
    for rows, encoding in ((32, "rgb8"), (64, "rgb8"), (32, "nonsense"), (32, "rgb8")):
        message = image_message(np.zeros((rows, 64, 3), np.uint8), encoding)
        message.header.stamp.sec = -1  # a camera whose clock is broken
        process(IncomingFrame(message, arrival=0.0))
    counts = statistics.counts()
    assert (counts.processed, counts.failed, counts.rejected) == (2, 1, 1)
    assert statistics.reasons()["failed"] == "RuntimeError: CUDA out of memory"
    assert "nonsense" in statistics.reasons()["rejected"]


def test_outputs_that_nobody_hears_are_not_filled(node: LifecycleNode, seeded_model: Path) -> None:
    outputs = Outputs(node, AlertTopic(node))
    segmenter = Segmenter(load_model(seeded_model), "eager", "cpu")
    published = []
    outputs.publish = lambda frame: published.append((frame, Outputs.publish(outputs, frame)))  # type: ignore
    process = processor(node, segmenter, FrameStatistics(), outputs)
    process(IncomingFrame(image_message(np.zeros((32, 64, 3), np.uint8), "rgb8"), arrival=0.0))
    ((frame, names),) = published
    assert names == []
    assert not any(outputs.is_wanted(name, frame.settings) for name in OUTPUTS)
    assert frame.hazards is not None  # tracks need every frame, heard or not
