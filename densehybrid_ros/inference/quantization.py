"""Static quantisation to 8 bits for CPUs: an exported graph gets its rounding written into it.

Convolutions take unsigned 8-bit activations (a scale and a zero point a tensor) and signed 8-bit weights (a scale a
channel); inductor finds such pairs of quantising and dequantising operations and makes 8-bit kernels of them.
What is concatenated or pooled is kept in 8 bits too, with one scale for all that meets there, because a dense block
is bound by memory more than by arithmetic. The convolutions that make the outputs stay as they are. What rounding does
to the mean of a channel is taken out again by its bias.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.ao.quantization.fx._decomposed  # registers the operations of the namespace quantized_decomposed
from torch import Tensor, fx

from densehybrid_ros.inference.equalization import equalizable, equalize, inputs_of
from densehybrid_ros.inference.folding import Watcher, add_constant, replace_argument, tensor_of

_aten = torch.ops.aten
_CONVOLUTION = _aten.conv2d.default
_KEEPING_SCALE = {
    _aten.cat.default,
    _aten.max_pool2d.default,
    _aten.avg_pool2d.default,
}
"""Operations whose inputs and output share a scale."""

_LOWEST, _HIGHEST = 0, 255
_LARGEST_WEIGHT = 127
_SMALLEST_SCALE = 2.0**-24

_CORRECTED_ON = 4  # frames, which run as one batch

Range = tuple[float, float]


def quantize(graph: fx.GraphModule, frames: Sequence[Tensor], watch: Callable[[int], None] = lambda done: None) -> int:
    """Writes 8-bit rounding into a graph, in place.

    Args:
        graph: Of ``torch.export.export(...).module(check_guards=False)``, float32, without batch normalisation.
        frames: Inputs of it, at least one; the activations' ranges are those that they have here.
        watch: Is told how many frames have been run.

    Returns:
        Number of convolutions that are quantised now.
    """
    all_convolutions = [node for node in graph.graph.nodes if node.target is _CONVOLUTION]
    convolutions = [node for node in all_convolutions if not _makes_output(node)]
    keeping = equalizable(graph, _KEEPING_SCALE)
    sources = {source for node in (*convolutions, *keeping) for source in inputs_of(node)}
    batch = torch.cat(list(frames[:_CORRECTED_ON])).contiguous(memory_format=torch.channels_last)
    equalize(graph, keeping, batch)
    means = _means(graph, all_convolutions, batch)
    ranges = _measured(graph, {*sources, *keeping}, frames, watch)
    _share(ranges, keeping)
    for source in [node for node in graph.graph.nodes if node in ranges]:
        # What has been concatenated or pooled is written in 8 bits once, for all who read it.
        readers = [user for user in source.users if source in keeping or user in convolutions or user in keeping]
        _round(graph, source, readers, *_scale_and_zero(ranges[source]))
    biases = {node: _own_bias(graph, node) for node in all_convolutions}
    for node in convolutions:
        _round_weights(graph, node)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    _Correction(graph, means, biases).run(batch)
    return len(convolutions)


def _makes_output(node: fx.Node) -> bool:
    return any(user.op == "output" for user in node.users)


class _Correction(fx.Interpreter):
    """Runs a quantised graph and moves each bias so that the means are those noted before.

    One after the other: each sees what the corrections before it left.
    """

    def __init__(self, graph: fx.GraphModule, means: dict[fx.Node, Tensor], biases: dict[fx.Node, Tensor]) -> None:
        super().__init__(graph)
        self._means, self._biases = means, biases

    def run_node(self, n: fx.Node) -> Any:
        """Runs one operation."""
        value = super().run_node(n)
        if n in self._means:
            shift = self._means[n] - value.mean(dim=(0, 2, 3))
            self._biases[n] += shift
            value = value + shift.reshape(-1, 1, 1)
        return value


def _means(graph: fx.GraphModule, wanted: list[fx.Node], images: Tensor) -> dict[fx.Node, Tensor]:
    """Runs the graph and returns the mean of each channel behind some convolutions."""
    means: dict[fx.Node, Tensor] = {}

    def note(node: fx.Node, value: Tensor) -> None:
        means[node] = value.mean(dim=(0, 2, 3))

    Watcher(graph, set(wanted), note).run(images)
    return means


def _measured(
    graph: fx.GraphModule, wanted: set[fx.Node], frames: Sequence[Tensor], watch: Callable[[int], None]
) -> dict[fx.Node, Range]:
    ranges: dict[fx.Node, Range] = {}

    def note(node: fx.Node, value: Tensor) -> None:
        low, high = (float(each) for each in torch.aminmax(value))
        before = ranges.get(node, (0.0, 0.0))  # zero is always exact: padding is made of it
        ranges[node] = min(before[0], low), max(before[1], high)

    watcher = Watcher(graph, wanted, note)
    for index, images in enumerate(frames):
        watcher.run(images)
        watch(index + 1)
    return ranges


def _share(ranges: dict[fx.Node, Range], keeping: list[fx.Node]) -> None:
    """Gives all that meets in a concatenation or pooling, directly or through another one, one range."""
    group: dict[fx.Node, set[fx.Node]] = {}
    for node in keeping:
        together = {node, *inputs_of(node)}
        for other in list(together):
            together |= group.get(other, set())
        for member in together:
            group[member] = together
    for member, together in group.items():
        ranges[member] = min(ranges[each][0] for each in together), max(ranges[each][1] for each in together)


def _scale_and_zero(extent: Range) -> tuple[float, int]:
    scale = max((extent[1] - extent[0]) / (_HIGHEST - _LOWEST), _SMALLEST_SCALE)
    return scale, min(_HIGHEST, max(_LOWEST, round(-extent[0] / scale)))


def _round(graph: fx.GraphModule, source: fx.Node, readers: list[fx.Node], scale: float, zero: int) -> None:
    operations = torch.ops.quantized_decomposed
    form = (scale, zero, _LOWEST, _HIGHEST, torch.uint8)
    with graph.graph.inserting_after(source):
        small = graph.graph.call_function(operations.quantize_per_tensor.default, (source, *form))
    for reader in readers:
        with graph.graph.inserting_before(reader):
            # One each: inductor joins an operation with the one that feeds it only where nobody else reads that.
            value = graph.graph.call_function(operations.dequantize_per_tensor.default, (small, *form))
        reader.replace_input_with(source, value)


def _round_weights(graph: fx.GraphModule, convolution: fx.Node) -> None:
    values = tensor_of(graph, convolution.args[1])
    scales = values.abs().amax(dim=(1, 2, 3)).clamp(min=_SMALLEST_SCALE) / _LARGEST_WEIGHT
    small = (values / scales.reshape(-1, 1, 1, 1)).round().to(torch.int8)
    zeros = torch.zeros(len(scales), dtype=torch.int64)
    with graph.graph.inserting_before(convolution):
        parts = [add_constant(graph, tensor) for tensor in (small, scales, zeros)]
        value = graph.graph.call_function(
            torch.ops.quantized_decomposed.dequantize_per_channel.default,
            (*parts, 0, -_LARGEST_WEIGHT - 1, _LARGEST_WEIGHT, torch.int8),
        )
    replace_argument(convolution, 1, value)


def _own_bias(graph: fx.GraphModule, convolution: fx.Node) -> Tensor:
    """Gives a convolution a bias that no other part shares, 0 where it had none; returns it."""
    former = convolution.args[2] if len(convolution.args) > 2 else None
    channels = len(tensor_of(graph, convolution.args[1]))
    bias = torch.zeros(channels) if former is None else tensor_of(graph, former).clone()
    with graph.graph.inserting_before(convolution):
        replace_argument(convolution, 2, add_constant(graph, bias))
    return bias
