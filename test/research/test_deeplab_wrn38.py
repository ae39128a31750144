# SPDX-License-Identifier: Apache-2.0
"""DeepLabV3+ on WideResNet-38: structure at full size without its memory, behaviour at a sixteenth of the width."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
import torch

from densehybrid_ros.networks import DenseHybrid, build_network, upsample
from densehybrid_ros.networks.registry import ENTRY_POINTS
from densehybrid_ros.research.deeplab_wrn38 import DeepLabV3Plus


@pytest.fixture
def small() -> DenseHybrid:
    torch.manual_seed(0)
    return DenseHybrid(DeepLabV3Plus(5, width_divisor=16)).eval()


def test_the_full_network_has_the_published_size_and_takes_g_from_304_channels() -> None:
    with torch.device("meta"):
        model = DenseHybrid(build_network("deeplab_wrn38", 19)).eval()
        output = model(torch.empty(1, 3, 64, 128))
    assert sum(part.numel() for part in model.parameters()) == 137_105_154  # 137.1 M with the head's 1218
    assert model.posterior_head.conv.in_channels == 304
    assert output.logits.shape == (1, 19, 32, 64)
    assert model.align_corners


def test_the_encoder_keeps_stride_eight_by_dilation(small: DenseHybrid) -> None:
    encoder = small.network.encoder
    skip, deep = encoder(torch.rand(1, 3, 64, 96))
    assert skip.shape == (1, encoder.skip_channels, 32, 48)
    assert deep.shape == (1, encoder.channels, 8, 12)
    dilations = [stage[0].layers[3].dilation for stage in encoder.stages]
    assert dilations == [(1, 1), (1, 1), (1, 1), (2, 2), (4, 4), (4, 4)]
    dropped = [[m.p for m in stage.modules() if isinstance(m, torch.nn.Dropout2d)] for stage in encoder.stages]
    assert dropped == [[], [], [], [], [0.3], [0.5]]


@torch.no_grad()
def test_blocks_pyramid_and_normalisation_compute_what_is_published(small: DenseHybrid) -> None:
    network = small.network
    block, features = network.encoder.stages[1][1], torch.rand(1, 16, 6, 6)
    convolved = block.layers(torch.relu(block.norm(features)))
    torch.testing.assert_close(block(features), features + convolved)

    deep = torch.rand(2, network.encoder.channels, 5, 7)
    mean = network.pyramid.mean(deep.mean((2, 3), keepdim=True))  # the image's mean comes first
    torch.testing.assert_close(network.pyramid(deep)[:, : mean.shape[1]], mean.expand(-1, -1, 5, 7))

    images = torch.rand(1, 3, 32, 32)
    expected = network(images)[1]
    network.normalization.mean.zero_()
    network.normalization.std.fill_(1)
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 1, 3, 1, 1)
    torch.testing.assert_close(network((images - mean) / std)[1], expected)


def test_every_parameter_of_the_network_learns(small: DenseHybrid) -> None:
    small.train()
    output = small(torch.rand(2, 3, 64, 64))
    (output.logits.square().mean() + output.posterior.square().mean()).backward()
    assert not [name for name, parameter in small.named_parameters() if parameter.grad is None]


def test_corners_stay_where_they_are_when_align_corners_is_asked_for() -> None:
    maps = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    torch.testing.assert_close(upsample(maps, (3, 3), align_corners=True)[0, 0, 1], torch.tensor([1.0, 1.5, 2.0]))
    torch.testing.assert_close(upsample(maps, (4, 4))[0, 0, 0], torch.tensor([0.0, 0.25, 0.75, 1.0]))


def test_a_process_that_never_registers_finds_it_by_the_entry_point_of_the_package() -> None:
    setup = (Path(__file__).parents[2] / "setup.py").read_text()
    name, module, attribute = re.search(r'"(\w+) = (densehybrid_ros\.research[\w.]+):(\w+)"', setup).groups()
    assert name == "deeplab_wrn38"
    assert getattr(import_module(module), attribute) is DeepLabV3Plus
    assert f'"{ENTRY_POINTS}": [' in setup
