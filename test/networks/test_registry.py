# SPDX-License-Identifier: Apache-2.0
"""Architectures by name: registered here, brought by a package, or missing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from plain_network import PlainNetwork

from densehybrid_ros import DenseHybrid, register_network, research
from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import (
    ModelCard,
    SegmentationNetwork,
    architecture_names,
    build_network,
    load_model,
    registry,
    save_model,
)
from densehybrid_ros.networks.light import LightNetwork

CODE = """
from plain_network import PlainNetwork
from densehybrid_ros import DenseHybrid

def build(num_classes):
    return DenseHybrid(PlainNetwork(num_classes), classifier="head.1")
"""


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


def plain(num_classes: int) -> DenseHybrid:
    return DenseHybrid(PlainNetwork(num_classes), classifier="head.1")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with the entry point ``plain``, and one that leads nowhere."""
    (tmp_path / "some_package.py").write_text(CODE)
    info = tmp_path / "some_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some_package\nVersion: 1.0\n")
    points = "plain = some_package:build\nbroken = some_package:nothing\n"
    (info / "entry_points.txt").write_text(f"[densehybrid_ros.networks]\n{points}")
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_registered_network_is_saved_and_loaded_by_its_name(tmp_path: Path) -> None:
    register_network("plain", plain)
    model = DenseHybrid(build_network("plain", 19)).eval()
    save_model(tmp_path / "m.safetensors", model, ModelCard("m", "plain"), half=False)
    loaded = load_model(tmp_path / "m.safetensors")
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded.network(images).logits, model(images).logits)

    registry._registered.clear()
    research.register()
    with pytest.raises(InputError) as refused:
        load_model(tmp_path / "m.safetensors")
    assert str(refused.value) == (
        "architecture 'plain': not installed; no package has the entry point plain in the group "
        "densehybrid_ros.networks, and it is none of ldn121, light, deeplab_wrn38"
    )


def test_an_entry_point_brings_a_network(package: None) -> None:
    research.register()
    assert isinstance(build_network("plain", 7), SegmentationNetwork)
    assert architecture_names() == ["ldn121", "light", "broken", "deeplab_wrn38", "plain"]
    with pytest.raises(InputError, match=r"'broken': entry point some_package:nothing does not load \(AttributeError"):
        build_network("broken", 7)


@pytest.mark.parametrize("name", ["", "light", "timm:mine"])
def test_names_that_are_taken_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="is taken or empty; register another name"):
        register_network(name, plain)


def test_a_build_of_no_use_is_refused() -> None:
    for build, message in (
        (PlainNetwork, "its build returns PlainNetwork; return DenseHybrid"),
        (lambda num_classes: LightNetwork(3), "has 3 classes where 7 are wanted"),
        (lambda num_classes: 1 / 0, r"can't be built for 7 classes \(ZeroDivisionError: division by zero\)"),
    ):
        register_network("mine", build)
        with pytest.raises(InputError, match=f"^architecture 'mine': {message}"):
            build_network("mine", 7)
