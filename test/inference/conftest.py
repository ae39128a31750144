# SPDX-License-Identifier: Apache-2.0
"""A tiny network that compiles in seconds, and caches apart from the user's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_network import SIZE, loadable, tiny_model

from densehybrid_ros.inference.engine_cache import EngineCache
from densehybrid_ros.inference.engines import EngineSpec
from densehybrid_ros.inference.host_kernels import compiler
from densehybrid_ros.networks import DenseHybrid, LoadedModel, ModelCard, build_network


@pytest.fixture(scope="session", autouse=True)
def user_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's cache directory during these tests; child processes see it too."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "densehybrid_ros"


@pytest.fixture
def tiny() -> LoadedModel:
    """The tiny model with a seed's weights; its file does not exist."""
    return LoadedModel(tiny_model(), ModelCard("tiny", "tiny", input_size=SIZE), Path("tiny.safetensors"))


@pytest.fixture(scope="session")
def light() -> LoadedModel:
    """The light network with a seed's weights; its file does not exist."""
    torch.manual_seed(4)
    network = DenseHybrid(build_network("light", 19)).eval()
    return LoadedModel(network, ModelCard("toy", "light"), Path("toy.safetensors"))


@pytest.fixture(scope="session")
def compiled(user_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds the tiny model's inductor engine for the CPU."""
    if compiler() is None:
        pytest.skip("no C++ compiler on this machine")
    directory = tmp_path_factory.mktemp("engines")
    cache = EngineCache(tiny_model(), "tiny", torch.device("cpu"), directory)
    with loadable():
        cache.build(EngineSpec("inductor", SIZE, "fp32"))
    return directory
