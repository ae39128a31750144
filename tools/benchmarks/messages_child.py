# SPDX-License-Identifier: Apache-2.0
"""Measures what filling and publishing the outputs costs; ``messages.py`` runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import rclpy
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.errors import InputError
from densehybrid_ros.host_memory import keep_freed_memory
from densehybrid_ros.inference import FrameResult
from densehybrid_ros.networks import ModelCard
from densehybrid_ros.nodes.inputs import CameraFrame
from densehybrid_ros.nodes.messages import Picture, image_message
from densehybrid_ros.nodes.outputs import OUTPUTS, Outputs
from densehybrid_ros.perception.perception import Frame, Perception
from densehybrid_ros.perception.settings import Settings
from ros_child import answer
from running import seconds

_PAUSE = 0.05  # seconds between two frames, in which the subscriber catches up
_PATIENCE = 30.0  # seconds to wait for the subscriber
_THRESHOLD = -3.0
_SUBSCRIBE = "--subscribe"
_COST = ("name", "bytes", "compute_ms", "fill_ms", "publish_ms", "cpu_ms")
"""Output, bytes of its message on the wire, then medians of making what it shows (the hazards are there already), of
making the message of it (nothing is left to do for an image), of sending it with writing the bytes of an image, and
the processor time of the thread for filling and publishing.
"""


def measure(width: int, height: int, repeats: int) -> dict[str, Any]:
    """Publishes frames to a subscriber in another process and returns the figures.

    Args:
        width: Columns of the frame.
        height: Rows of the frame.
        repeats: Number of frames.
    """
    node = LifecycleNode("perception")
    try:
        outputs = Outputs(node)
        node.trigger_configure()
        node.trigger_activate()
        frame = _frame(width, height)
        unheard = [seconds(lambda: outputs.publish(frame)) for _ in range(repeats)]
        with _subscriber():
            _wait_for_subscriber(outputs, frame.settings)
            times = np.array([_publish_all(outputs, frame) for _ in range(repeats)])
        sizes = [_size(output.make(frame)) for output in OUTPUTS.values()]
    finally:
        node.destroy_node()
    medians = np.median(times, axis=0) * 1e3  # [output, (compute, fill, publish, cpu)]
    plain = [place for place, name in enumerate(OUTPUTS) if not name.endswith("/compressed")]
    together = np.median(times[:, plain].sum(axis=1), axis=0) * 1e3
    rows = [*zip(OUTPUTS, sizes, medians, strict=True), ("together", sum(sizes[place] for place in plain), together)]
    costs = [dict(zip(_COST, (name, size, *map(float, times)), strict=True)) for name, size, times in rows]
    return {
        "width": width,
        "height": height,
        "repeats": repeats,
        "unheard_us": float(np.median(unheard) * 1e6),
        "outputs": costs[:-1],
        "together": costs[-1],
    }


def _publish_all(outputs: Outputs, frame: CameraFrame) -> list[tuple[float, float, float, float]]:
    rows = []
    frame, perceived = replace(frame), frame.perceived  # without the overlay that was made for the one before
    frame.perceived = perceived
    for name, output in OUTPUTS.items():
        began = time.perf_counter()
        content = output.compute(frame)
        computed, processor = time.perf_counter(), time.thread_time()
        message = output.fill(frame, content)
        filled = time.perf_counter()
        outputs.send(name, message)
        published = time.perf_counter()
        rows.append((computed - began, filled - computed, published - filled, time.thread_time() - processor))
    time.sleep(_PAUSE)
    return rows


def _size(message: Any) -> int:
    return len(serialize_message(image_message(message) if isinstance(message, Picture) else message))


def _frame(width: int, height: int) -> CameraFrame:
    """A frame with the structure of a real one: large areas of a class and three unknown objects."""
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    semantic = np.repeat(np.arange(8, dtype=np.uint8), -(-height // 8))[:height, None].repeat(width, axis=1)
    score = random.normal(-8.0, 1.0, (height, width)).astype(np.float32)
    for row, column in ((0.5, 0.3), (0.6, 0.5), (0.75, 0.7)):
        box = np.s_[int(row * height) : int((row + 0.08) * height), int(column * width) : int((column + 0.06) * width)]
        score[box] = 2.0
    open_set = np.where(score > _THRESHOLD, np.uint8(len(CITYSCAPES_CLASSES)), semantic)
    card = ModelCard("benchmark", "none", thresholds={"benchmark": _THRESHOLD}, default_threshold="benchmark")
    confidence = np.rint(255 * card.confidence.probability(score)).astype(np.uint8)
    result = FrameResult(np.ascontiguousarray(semantic), score, open_set, confidence)
    settings = Settings(anomaly_threshold=_THRESHOLD, trigger_count=1)
    segmenter: Any = _Drawn(card, result)
    frame = CameraFrame(CompressedImage(header=Header(frame_id="camera")), 0.0, settings)
    frame.perceived = Perception(segmenter, settings)(Frame(image, camera=_camera(width, height)))
    return frame


@dataclass(frozen=True)
class _Drawn:
    """Masks as they are drawn, in the place of a model."""

    card: ModelCard
    result: FrameResult
    threshold: float | None = None

    def submit(self, image: np.ndarray, threshold: float, camera: int) -> Callable[[], FrameResult]:
        return lambda: self.result


def _camera(width: int, height: int) -> Camera:
    """A camera whose horizon lies above the objects, so that they have positions."""
    return Camera(width, height, width, width, width / 2, height / 4, baseline=0.0, pitch=0.0, mount_height=1.2)


@contextmanager
def _subscriber() -> Iterator[None]:
    command = [sys.executable, __file__, _SUBSCRIBE]
    process = subprocess.Popen(command, start_new_session=True)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def _wait_for_subscriber(outputs: Outputs, settings: Settings) -> None:
    end = time.monotonic() + _PATIENCE
    while not all(outputs.is_wanted(name, settings) for name in OUTPUTS):
        if time.monotonic() > end:
            raise InputError(f"the subscriber's process was not found within {_PATIENCE:.0f} s")
        time.sleep(0.05)
    time.sleep(0.5)


def _subscribe() -> None:
    """Subscribes to all outputs until interrupted; takes the messages without unpacking them."""
    node = rclpy.create_node("subscriber")
    qos = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)
    for name, output in OUTPUTS.items():
        node.create_subscription(output.kind, f"/perception/output/{name}", lambda _: None, qos, raw=True)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        pass
    finally:
        node.destroy_node()


if __name__ == "__main__":
    keep_freed_memory()
    rclpy.init(args=[])
    try:
        if sys.argv[1:] == [_SUBSCRIBE]:
            _subscribe()
        else:
            answer(measure)
    finally:
        rclpy.try_shutdown()
