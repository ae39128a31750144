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

from densehybrid_ros.inference import Pipeline
from densehybrid_ros.networks import load_model
from densehybrid_ros.nodes.counters import FrameStatistics
from densehybrid_ros.nodes.frame_processor import FrameProcessor, IncomingFrame
from densehybrid_ros.nodes.outputs import OUTPUTS, Outputs
from densehybrid_ros.nodes.parameters import Settings

pytestmark = pytest.mark.ros


class FragilePipeline(Pipeline):
    """Runs out of memory on frames of 64 rows, which is not to be had on request."""

    def __call__(self, image: np.ndarray, threshold: float) -> Any:
        if len(image) == 64:
            raise RuntimeError("CUDA out of memory")
        return super().__call__(image, threshold)


@pytest.fixture
def node(ros: None) -> Iterator[LifecycleNode]:
    node = LifecycleNode("processor_test")
    yield node
    node.destroy_node()


def test_failures_and_rejections_are_counted_apart(node: LifecycleNode, seeded_model: Path) -> None:
    statistics = FrameStatistics()
    pipeline = FragilePipeline(load_model(seeded_model), "eager", "cpu")
    process = FrameProcessor(node, pipeline, Outputs(node), statistics, lambda: Settings(anomaly_threshold=-3.0))
    for rows, encoding in ((32, "rgb8"), (64, "rgb8"), (32, "nonsense"), (32, "rgb8")):
        message = image_message(np.zeros((rows, 64, 3), np.uint8), encoding)
        message.header.stamp.sec = -1  # a camera whose clock is broken
        process(IncomingFrame(message, arrival=0.0))
    counts = statistics.counts()
    assert (counts.processed, counts.failed, counts.rejected) == (2, 1, 1)
    assert statistics.reasons()["failed"] == "RuntimeError: CUDA out of memory"
    assert "nonsense" in statistics.reasons()["rejected"]


def test_outputs_that_nobody_hears_are_not_filled(node: LifecycleNode, seeded_model: Path) -> None:
    outputs = Outputs(node)
    pipeline = Pipeline(load_model(seeded_model), "eager", "cpu")
    published = []
    outputs.publish = lambda frame: published.append((frame, Outputs.publish(outputs, frame)))  # type: ignore
    process = FrameProcessor(node, pipeline, outputs, FrameStatistics(), lambda: Settings(anomaly_threshold=-3.0))
    process(IncomingFrame(image_message(np.zeros((32, 64, 3), np.uint8), "rgb8"), arrival=0.0))
    ((frame, names),) = published
    assert names == []
    assert [outputs.is_wanted(name, frame.settings) for name in OUTPUTS] == [False] * 5
