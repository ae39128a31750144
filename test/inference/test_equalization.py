"""Channels of equal extent where they meet, and the same function as before."""

from __future__ import annotations

import torch
from dense_block import SIZE, dense_network, inputs
from torch import Tensor, fx, nn

from densehybrid_ros.inference.equalization import equalizable, equalize
from densehybrid_ros.inference.folding import fold_batch_norms

OPERATIONS = {torch.ops.aten.cat.default, torch.ops.aten.max_pool2d.default, torch.ops.aten.avg_pool2d.default}


def exported(module: nn.Module, images: Tensor) -> fx.GraphModule:
    graph = torch.export.export(module, (images,)).module(check_guards=False)
    fold_batch_norms(graph)
    return graph


def extents(graph: fx.GraphModule, name: str, images: Tensor) -> Tensor:
    """Largest value of each channel of the last node of a kind."""
    found: list[Tensor] = []

    class Watch(fx.Interpreter):
        def run_node(self, n: fx.Node):
            value = super().run_node(n)
            if name in str(n.target):
                found.append(value.abs().amax(dim=(0, 2, 3)))
            return value

    Watch(graph).run(images)
    return found[-1]


@torch.no_grad()
def test_extents_become_equal_and_the_function_stays() -> None:
    network, images = dense_network(), torch.cat(inputs(4))
    graph = exported(network, inputs(1)[0])
    keeping = equalizable(graph, OPERATIONS)
    assert len(keeping) == 4  # pooling of the stem, two concatenations, pooling between
    expected = network(images)
    before = extents(graph, "aten.cat", images)
    assert before.max() > 50 * before.min()
    equalize(graph, keeping, images)
    after = extents(graph, "aten.cat", images)
    torch.testing.assert_close(after, torch.ones(16), atol=1e-4, rtol=1e-4)
    for made, each in zip(fx.Interpreter(graph).run(images), expected, strict=True):
        torch.testing.assert_close(made, each, atol=1e-4, rtol=1e-3)


class Awkward(nn.Module):
    """A concatenation of an enlarged map, which no convolution makes, and one that is read without a multiplication."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1, bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns both concatenations."""
        first, second = self.first(images), self.second(images)
        enlarged = nn.functional.interpolate(nn.functional.avg_pool2d(images, 2), size=SIZE)
        return torch.cat([first, enlarged], dim=1), torch.cat([second, self.first(images).relu()], dim=1).tanh()


@torch.no_grad()
def test_what_no_convolution_makes_is_left_out_and_other_readers_are_served() -> None:
    torch.manual_seed(1)
    module, images = Awkward(), inputs(1)[0]
    graph = exported(module, images)
    keeping = equalizable(graph, OPERATIONS)
    assert [node.name for node in keeping] == ["cat_1"]
    equalize(graph, keeping, images)
    for made, each in zip(graph(images), module(images), strict=True):
        torch.testing.assert_close(made, each, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_channel_that_is_always_zero_stays_finite() -> None:
    network = dense_network()
    network.first.conv.weight[0] = 0
    images = inputs(1)[0]
    graph = exported(network, images)
    expected = network(images)
    equalize(graph, equalizable(graph, OPERATIONS), images)
    torch.testing.assert_close(graph(images)[1], expected[1], atol=1e-4, rtol=1e-3)
