"""Rounding to 8 bits written into a graph: where it stands, what it costs, and that the means stay."""

from __future__ import annotations

import pytest
import torch
from dense_block import dense_network, inputs
from torch import Tensor, fx

from densehybrid_ros.inference import quantization
from densehybrid_ros.inference.folding import fold_batch_norms
from densehybrid_ros.inference.quantization import quantize

QUANTIZE = "quantized_decomposed.quantize_per_tensor.default"
DEQUANTIZE = "quantized_decomposed.dequantize_per_tensor.default"


def quantized(frames: list[Tensor]) -> tuple[fx.GraphModule, int]:
    graph = torch.export.export(dense_network(), (frames[0],)).module(check_guards=False)
    fold_batch_norms(graph)
    return graph, quantize(graph, frames)


@torch.no_grad()
def test_little_changes_and_the_result_can_be_exported() -> None:
    told: list[int] = []
    graph = torch.export.export(dense_network(), (inputs(1)[0],)).module(check_guards=False)
    fold_batch_norms(graph)
    assert quantize(graph, inputs(6), told.append) == 5
    assert told == [1, 2, 3, 4, 5, 6]
    for images in inputs(3, seed=9):
        expected, made = dense_network()(images)[1], torch.export.export(graph, (images,)).module()(images)[1]
        error = (made - expected).abs().mean() / expected.std()
        assert 1e-4 < error < 0.05  # rounded, and not by much


@torch.no_grad()
def test_convolutions_and_concatenations_are_rounded_and_outputs_are_not() -> None:
    graph, _ = quantized(inputs(2))
    nodes = list(graph.graph.nodes)
    convolutions = [node for node in nodes if "conv2d" in str(node.target)]
    made = [str(node.args[0].target) == DEQUANTIZE for node in convolutions]
    assert made == [True] * 5 + [False]  # the classifier computes in float32
    for node in nodes:
        if "aten.cat" in str(node.target):
            assert [str(part.target) for part in node.args[0]] == [DEQUANTIZE] * 2
            assert {str(user.target) for user in node.users} == {QUANTIZE}
            scales = {part.args[1] for part in node.args[0]} | {user.args[1] for user in node.users}
            assert len(scales) == 1


@torch.no_grad()
def test_weights_are_bytes_and_their_scales_per_channel() -> None:
    graph, _ = quantized(inputs(2))
    weights = [buffer for buffer in graph.buffers() if buffer.dtype == torch.int8]
    assert len(weights) == 5
    assert all(weight.abs().flatten(1).amax(dim=1).eq(127).all() for weight in weights)


@torch.no_grad()
def test_the_means_of_the_outputs_stay() -> None:
    frames = inputs(4)
    batch = torch.cat(frames)
    graph, _ = quantized(frames)
    expected, made = dense_network()(batch)[1], fx.Interpreter(graph).run(batch)[1]
    torch.testing.assert_close(made.mean(dim=(0, 2, 3)), expected.mean(dim=(0, 2, 3)), atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_equal_extents_make_the_error_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.cat(inputs(4, seed=5))
    expected = dense_network()(images)[1]

    def error() -> float:
        graph, _ = quantized(inputs(4))
        return float((fx.Interpreter(graph).run(images)[1] - expected).abs().mean())

    with_equal_extents = error()
    monkeypatch.setattr(quantization, "equalize", lambda *_: None)
    assert with_equal_extents < error()


@torch.no_grad()
def test_zero_is_exact_and_negative_values_are_kept() -> None:
    scale, zero = quantization._scale_and_zero((-0.4, 1.7))
    assert (0.0 / scale + zero) == zero
    assert 0 < zero < 255
    assert quantization._scale_and_zero((0.0, 0.0))[0] > 0
