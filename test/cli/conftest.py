# SPDX-License-Identifier: Apache-2.0
"""Frames and negatives that a command trains on, and a model without a finite score."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_frames import write_small_frames

from densehybrid_ros.networks import DenseHybrid, ModelCard, build_network, save_model


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``cityscapes_640`` in small, and negatives; a module's own."""
    return write_small_frames(tmp_path_factory.mktemp("data"))


@pytest.fixture
def nan_model(tmp_path: Path) -> Path:
    """A model whose score is NaN."""
    network = DenseHybrid(build_network("light", 19))
    with torch.no_grad():
        for weights in network.posterior_head.parameters():
            weights.fill_(3e38)  # finite, as a file of weights is, until they are multiplied
    save_model(tmp_path / "nan.safetensors", network, ModelCard("nan", "light"), half=False)
    return tmp_path / "nan.safetensors"
