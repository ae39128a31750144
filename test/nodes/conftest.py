# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the node's tests: a ROS domain of their own, a small model, the node as a process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from densehybrid_ros.demo.node_process import NodeProcess
from densehybrid_ros.demo.transport import (
    private_domain,
    profile_environment,
    tidy_shared_memory,
    transport_environment,
)
from densehybrid_ros.inference import Segmenter
from densehybrid_ros.networks import DenseHybrid, ModelCard, build_network, load_model, save_model

# Fast DDS reads its profile once a process, so it is named before the first test of any folder uses ROS.
os.environ.update(profile_environment())

THRESHOLDS = {"low": -4.0, "middle": -3.0, "high": 1000.0}


@pytest.fixture(scope="session")
def seeded_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a light network as a seed gives them: as good as trained ones where only equality counts."""
    torch.manual_seed(7)
    network = DenseHybrid(build_network("light", 19)).eval()
    path = tmp_path_factory.mktemp("models") / "seeded.safetensors"
    save_model(path, network, ModelCard("seeded", "light", thresholds=THRESHOLDS, default_threshold="middle"))
    return path


@pytest.fixture(scope="session")
def segmenter(seeded_model: Path) -> Segmenter:
    """What the node runs, called directly."""
    return Segmenter(load_model(seeded_model), "eager", "cpu")


@pytest.fixture(scope="module")
def ros() -> Iterator[None]:
    """ROS in this process and its children, in a domain that nobody else is in."""
    rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    signals = pytest.importorskip("rclpy.signals")
    with private_domain() as domain, tidy_shared_memory(), pytest.MonkeyPatch.context() as patch:
        for name, value in transport_environment(domain).items():
            patch.setenv(name, value)
        rclpy.init(args=[], signal_handler_options=signals.SignalHandlerOptions.NO)
        yield
        rclpy.try_shutdown()


@pytest.fixture(scope="module")
def start_node(ros: None, seeded_model: Path) -> Callable[..., NodeProcess]:
    """Returns a function that starts the node with the seeded model on the CPU; parameters are its arguments."""

    def start(extra_arguments: tuple[str, ...] = (), threads: int | None = None, **parameters: Any) -> NodeProcess:
        # As many threads as here: the sums of a convolution depend on how they are split.
        environment = os.environ | {"OMP_NUM_THREADS": str(threads or torch.get_num_threads())}
        # The stamps of the tests' frames are of another year.
        given = {"model": str(seeded_model), "device": "cpu", "backend": "eager", "max_age": 0.0} | parameters
        return NodeProcess(given, {"image": "/camera"}, environment, extra_arguments)

    return start


@pytest.fixture(scope="module")
def start_colour_node(ros: None) -> Callable[..., NodeProcess]:
    """Returns a function that starts the node with a stand-in for the network: what a pixel is, its colour says."""

    def start(remappings: Mapping[str, str], **parameters: Any) -> NodeProcess:
        here = str(Path(__file__).parents[1] / "helpers")
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])}
        # No alert turns STALE because the machine is busy, or a stamp of another year.
        given = {"input_reliability": "reliable", "source_timeout": 60.0, "max_age": 0.0, "min_hazard_area": 20}
        return NodeProcess(given | parameters, remappings, environment, module="colour_node")

    return start
