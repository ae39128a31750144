"""Gives the channels that are concatenated or pooled together the same extent, without changing what a graph computes.

They are to share one 8-bit scale (``quantization``), in which a channel a hundred times smaller than its neighbours
would have two or three values. The convolution that makes a channel is multiplied by a factor, and whoever reads the
channel divides by it: mostly the normalisation that a dense layer begins with, which multiplies each channel anyway.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, fx

from densehybrid_ros.inference.folding import Watcher, add_constant, replace_argument, tensor_of

_aten = torch.ops.aten
_CONVOLUTION = _aten.conv2d.default
_MULTIPLICATION = _aten.mul.Tensor
_SCALED_ALIKE = {_aten.relu.default, _aten.relu_.default}
"""Operations for which f(a x) = a f(x) where a > 0."""

_SMALLEST = 1e-3
"""Of the largest channel: smaller ones count as of this extent, lest noise be blown up."""


def equalizable(graph: fx.GraphModule, operations: Collection[Any]) -> list[fx.Node]:
    """Returns the nodes of these operations all of whose channels can be scaled: made by convolutions of their own."""
    found: list[fx.Node] = []
    for node in graph.graph.nodes:
        if node.target in operations and all(each in found or _maker(each) for each in inputs_of(node)):
            found.append(node)
    return found


def equalize(graph: fx.GraphModule, keeping: Collection[fx.Node], images: Tensor) -> None:
    """Scales channels within a graph, in place.

    Args:
        graph: float32, without batch normalisation, from ``torch.export``.
        keeping: Of ``equalizable``: concatenations and poolings whose inputs are to have the same extent.
        images: Input from which extents are taken.
    """
    entries = {source for node in keeping for source in inputs_of(node) if source not in keeping}
    extents: dict[fx.Node, Tensor] = {}

    def note(node: fx.Node, value: Tensor) -> None:
        extents[node] = value.abs().amax(dim=(0, 2, 3))

    Watcher(graph, entries, note).run(images)
    factors: dict[fx.Node, Tensor] = {}
    for entry, extent in extents.items():
        factors[entry] = 1 / extent.clamp(min=_SMALLEST * float(extent.max().clamp(min=1e-12)))
        maker = _maker(entry)
        assert maker is not None
        _scale_convolution(graph, maker, factors[entry])
    for node in keeping:
        factors[node] = torch.cat([factors[source] for source in inputs_of(node)])
    for node, factor in factors.items():
        for reader in list(node.users):
            if reader not in keeping:
                _divide(graph, node, reader, factor)
    graph.recompile()


def inputs_of(node: fx.Node) -> list[fx.Node]:
    """Returns the nodes whose values a convolution, concatenation or pooling reads."""
    first = node.args[0]
    return [part for part in (first if isinstance(first, (list, tuple)) else [first]) if isinstance(part, fx.Node)]


def _maker(entry: fx.Node) -> fx.Node | None:
    """Returns the convolution that makes an entry and nothing else; None where there is none."""
    node = entry
    while node.target in _SCALED_ALIKE:
        node = inputs_of(node)[0]
        if len(node.users) != 1:
            return None
    return node if node.target is _CONVOLUTION else None


def _scale_convolution(graph: fx.GraphModule, convolution: fx.Node, factor: Tensor) -> None:
    with graph.graph.inserting_before(convolution):
        weight = tensor_of(graph, convolution.args[1]) * factor.reshape(-1, 1, 1, 1)
        replace_argument(convolution, 1, add_constant(graph, weight))
        if len(convolution.args) > 2 and convolution.args[2] is not None:
            bias = tensor_of(graph, convolution.args[2]) * factor
            replace_argument(convolution, 2, add_constant(graph, bias))


def _divide(graph: fx.GraphModule, node: fx.Node, reader: fx.Node, factor: Tensor) -> None:
    inverse = (1 / factor).reshape(-1, 1, 1)
    with graph.graph.inserting_before(reader):
        other = reader.args[1] if len(reader.args) > 1 else None
        if reader.target is _MULTIPLICATION and isinstance(other, fx.Node) and other.op == "get_attr":
            replace_argument(reader, 1, add_constant(graph, tensor_of(graph, other) * inverse))
        else:
            divided = graph.graph.call_function(_MULTIPLICATION, (node, add_constant(graph, inverse)))
            reader.replace_input_with(node, divided)
