# SPDX-License-Identifier: Apache-2.0
"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real frames beside the checkout; skips where it is absent."""
    folder = Path(os.environ.get("DENSEHYBRID_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real frames are not here: {folder}")
    return folder


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of random weights for the 19 classes of Cityscapes, ``tiny``; who writes to it takes a copy."""
    from densehybrid_ros.networks import DenseHybrid, ModelCard, build_network, save_model

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(path, DenseHybrid(build_network("light", 19)), ModelCard("tiny", "light"))
    return path


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips GPU tests on a machine without a GPU; of several workers, each gets whole files, and one the engine."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            needs_engine = "compiled" in getattr(item, "fixturenames", ())
            item.add_marker(pytest.mark.xdist_group("engine" if needs_engine else str(item.path)))
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="no CUDA device on this machine")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(skip)
