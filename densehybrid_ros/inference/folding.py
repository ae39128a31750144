# SPDX-License-Identifier: Apache-2.0
"""Takes batch normalisation out of an exported graph: its statistics are constant once training is over.

Inductor does this when it freezes a graph. TensorRT-RTX does not: it gets every normalisation as five operations.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, fx

_CONVOLUTION = torch.ops.aten.conv2d.default
_NORMALISATION = torch.ops.aten.batch_norm.default


def fold_batch_norms(module: fx.GraphModule) -> int:
    """Folds each normalisation into the convolution before it, or makes one scale and one shift of it.

    ``module`` is of ``torch.export.export(...).module()``, in eval mode and float32; it is changed in place.

    Returns:
        How many went into a convolution.
    """
    folded = 0
    for node in [node for node in module.graph.nodes if node.target is _NORMALISATION]:
        source, weight, bias, *statistics = node.args[:5]
        if None in statistics:  # those of the frame itself count: nothing about them is constant
            continue
        mean, variance = (_tensor_of(module, each) for each in statistics)
        scale = torch.rsqrt(variance + float(node.args[7]))
        if weight is not None:
            scale = scale * _tensor_of(module, weight)
        shift = -mean * scale if bias is None else _tensor_of(module, bias) - mean * scale
        if source.target is _CONVOLUTION and len(source.users) == 1:
            _fold(module, source, scale, shift)
            node.replace_all_uses_with(source)
            folded += 1
        else:
            node.replace_all_uses_with(_scale_and_shift(module, node, source, scale, shift))
        module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()
    return folded


def _fold(module: fx.GraphModule, convolution: fx.Node, scale: Tensor, shift: Tensor) -> None:
    images, weight, bias, *rest = cast("tuple[Any, ...]", (*convolution.args, None)[: max(3, len(convolution.args))])
    kernel = _tensor_of(module, weight) * scale.reshape(-1, 1, 1, 1)
    offset = shift if bias is None else _tensor_of(module, bias) * scale + shift
    with module.graph.inserting_before(convolution):
        convolution.args = (images, _add_constant(module, kernel), _add_constant(module, offset), *rest)


def _scale_and_shift(module: fx.GraphModule, node: fx.Node, source: fx.Node, scale: Tensor, shift: Tensor) -> fx.Node:
    with module.graph.inserting_before(node):
        factor, offset = (_add_constant(module, each.reshape(-1, 1, 1)) for each in (scale, shift))
        product = module.graph.call_function(torch.ops.aten.mul.Tensor, (source, factor))
        return module.graph.call_function(torch.ops.aten.add.Tensor, (product, offset))


def _tensor_of(module: fx.GraphModule, node: Any) -> Tensor:
    """Returns the parameter or buffer that a node of ``module`` stands for."""
    value: object = module
    for name in str(node.target).split("."):
        value = getattr(value, name)
    assert isinstance(value, Tensor)
    return value.detach()


def _add_constant(module: fx.GraphModule, value: Tensor) -> fx.Node:
    """Keeps ``value`` in ``module`` as a buffer; returns a node for it, at the graph's point of insertion."""
    number = sum(1 for _ in module.named_buffers(recurse=False))
    while hasattr(module, name := f"constant_{number}"):
        number += 1
    module.register_buffer(name, value)
    return module.graph.get_attr(name)
