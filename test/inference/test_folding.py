# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation folded out of an exported graph: the same function with nothing normalised any more."""

from __future__ import annotations

import pytest
import torch
from tiny_network import SIZE, tiny_model
from torch import Tensor, nn

from densehybrid_ros.inference.folding import fold_batch_norms
from densehybrid_ros.networks import DenseHybrid, SegmentationNetwork
from densehybrid_ros.networks.registry import build_network


def with_statistics(module: nn.Module, seed: int = 0) -> nn.Module:
    """Gives every normalisation statistics and factors of its own, some factors negative."""
    torch.manual_seed(seed)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 2)
            nn.init.normal_(part.weight, 1.0, 0.5)
            nn.init.normal_(part.bias, 0, 0.2)
    return module.eval()


def targets(graph: torch.fx.GraphModule) -> list[str]:
    return [str(node.target) for node in graph.graph.nodes]


def folded(module: nn.Module, images: Tensor) -> tuple[torch.fx.GraphModule, int]:
    graph = torch.export.export(module, (images,)).module(check_guards=False)
    return graph, fold_batch_norms(graph)


@pytest.mark.parametrize("name", ["light", "ldn121"])
@torch.no_grad()
def test_a_network_stays_the_same_function(name: str) -> None:
    model = with_statistics(DenseHybrid(build_network(name, 19)))
    images = torch.rand(1, 3, 64, 96)
    expected = model(images)
    graph, count = folded(model, images)
    assert "aten.batch_norm.default" not in targets(graph)
    assert count > 40
    for made, each in zip(graph(images), expected, strict=True):
        torch.testing.assert_close(made, each, atol=1e-4 * float(each.std()), rtol=1e-3)


class Shared(SegmentationNetwork):
    """A convolution whose output is needed as it is, too: its normalisation must not change it."""

    num_classes, prelogit_channels = 4, 4

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=True)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
        self.last = nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.first(images)
        return features, self.last(self.second(torch.relu(self.norm(features))))


@torch.no_grad()
def test_strides_groups_and_biases_survive_and_a_shared_convolution_is_left_alone() -> None:
    model = with_statistics(Shared())
    images = torch.rand(2, 3, 20, 30)
    expected = model(images)
    graph, count = folded(model, images)
    assert count == 1
    assert targets(graph).count("aten.mul.Tensor") == 1
    for made, each in zip(graph(images), expected, strict=True):
        torch.testing.assert_close(made, each, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_result_can_be_cast_and_exported_again() -> None:
    images = torch.rand(1, 3, *SIZE)
    graph, _ = folded(tiny_model(), images)
    half = torch.export.export(graph.to(torch.bfloat16), (images.bfloat16(),)).module()(images.bfloat16())
    assert half[0].dtype == torch.bfloat16
    torch.testing.assert_close(half[0].float(), tiny_model()(images)[0], atol=0.1, rtol=0.05)
