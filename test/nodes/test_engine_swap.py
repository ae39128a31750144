# SPDX-License-Identifier: Apache-2.0
"""The real node process builds its engine beside the frames and goes over to it, and every frame is answered."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from ros_peer import RosPeer, image_message, pixels_of

from densehybrid_ros.demo.node_process import NodeProcess
from densehybrid_ros.inference import Segmenter
from densehybrid_ros.inference.host_kernels import compiler

pytestmark = pytest.mark.ros

SIZE = (32, 64)
PATIENCE = 400.0  # seconds; only a hang lasts as long


def test_frames_go_on_while_the_engine_is_built_and_after_it_took_over(
    start_node: Callable[..., NodeProcess], segmenter: Segmenter, tmp_path: Path
) -> None:
    if compiler() is None:
        pytest.skip("no C++ compiler on this machine")
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    expected = segmenter(image, 0.0).anomaly_score
    options = {"backend": "auto", "build_engine": True, "engine_cache": str(tmp_path), "input_reliability": "reliable"}
    with start_node(**options) as process:
        process.wait_until_active()
        with closing(RosPeer("/camera")) as peer:
            peer.connect()
            backends: list[str] = []
            number = 0

            def answer() -> bool:
                nonlocal number
                number += 1
                peer.send(image_message(image, "rgb8", number=number))
                score = pixels_of(peer.result("anomaly_score", number))
                np.testing.assert_allclose(score, expected, atol=1e-3)
                backends.append(peer.diagnostics.get("model", ""))
                return "inductor fp32" in backends[-1]

            peer.wait_for(answer, "the engine to take over", PATIENCE)
            peer.wait_for(answer, "a frame after it")
            assert "eager fp32" in backends[0]
            assert number > 10  # frames went on meanwhile
            assert "built the inductor fp32 engine for 64x32" in peer.diagnostics["engine_build"]
            counters = peer.settle()
            assert counters["failed"] == counters["dropped"] == counters["rejected"] == 0
        assert process.stop(signal.SIGTERM) == 0, process.log()
    assert len(list(tmp_path.glob("*.pt2"))) >= 1
