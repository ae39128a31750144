# SPDX-License-Identifier: Apache-2.0
"""A model as one ONNX file, from a picture to class ids and anomaly score, for programs without Python.

The graph's input is ``image``, float32 [1, 3, H, W], RGB in 0..1. Its outputs are ``semantic``, uint8 [H, W], train
ids, and ``anomaly_score``, float32 [H, W], the hybrid score in nats. It pads the picture itself.
"""

from __future__ import annotations

import copy
import json
import logging
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from densehybrid_ros import __version__
from densehybrid_ros.errors import InputError, kind_and_line
from densehybrid_ros.files import file_digest, write_together
from densehybrid_ros.inference.dense_output import enlarge
from densehybrid_ros.inference.engines import blotches
from densehybrid_ros.inference.input_policy import Placement, padded, size_text
from densehybrid_ros.networks import DenseHybrid, LoadedModel
from densehybrid_ros.networks.blocks import pooling_matrix
from densehybrid_ros.scores import hybrid

OPSET = 18
"""The default, and the lowest of PyTorch's exporter."""

TOLERANCE = 1e-3
"""Nats that the score may be off eager at any pixel; classes may differ where their logits do by less."""

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_SIDES_TRIED = ((5, 8), (7, 9))  # in strides: of the picture that a graph of any size is made with, and of another


def export_onnx(
    model: LoadedModel, path: Path, size: tuple[int, int] | None = None, opset: int = OPSET
) -> dict[str, float]:
    """Writes the file once ONNX Runtime computes from it what eager fp32 does.

    Args:
        model: On the CPU; left as it is.
        path: The file.
        size: (height, width) of the pictures; None: any, of at least two strides of the network a side.
        opset: Of ONNX's operations.

    Returns:
        ``score_error_max`` in nats and ``classes_differ``, the share of pixels.

    Raises:
        InputError: A package is missing, the network can't be exported so, or the file computes something else.
    """
    check_packages()
    stride = model.network.input_stride
    tried = [size] if size else [(rows * stride - 1, columns * stride - 2) for rows, columns in _SIDES_TRIED]
    try:
        content = _graph(model, tried[0], size is None, opset)
    except Exception as error:
        mend = "" if size else "; give --size in place of --dynamic"
        raise InputError(f"export: the network has no such graph ({kind_and_line(error)}){mend}") from error
    errors = [_errors(model.network, content, each) for each in tried]
    write_together({path: content})
    return {key: max(each[key] for each in errors) for key in errors[0]}


def check_packages() -> None:
    """Raises an InputError where a package of the extra ``export`` is missing."""
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(f"export needs {', '.join(missing)}: pip install {' '.join(missing)}")


class _Picture(nn.Module):
    """From a picture of any size to the file's outputs."""

    def __init__(self, network: DenseHybrid) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Returns class ids and score of float32 [1, 3, H, W]."""
        height, width = image.shape[2:]
        rows, columns = padded((height, width), self.network.input_stride)
        output = self.network(functional.pad(image, (0, columns - width, 0, rows - height)))
        maps = (enlarge(each, (rows, columns), self.network.align_corners) for each in output)
        logits, posterior = (each[:, :, :height, :width] for each in maps)
        return logits.argmax(dim=1)[0].to(torch.uint8), hybrid(logits, posterior)[0]


def _graph(model: LoadedModel, size: tuple[int, int], dynamic: bool, opset: int) -> bytes:
    onnx = import_module("onnx")
    graph = onnx_model(_Picture(model.network), blotches(size), ["semantic", "anomaly_score"], opset, dynamic)
    if dynamic:
        for value in (*graph.graph.input, *graph.graph.output):
            for side, name in zip(value.type.tensor_type.shape.dim[-2:], ("height", "width"), strict=True):
                side.dim_param = name
    onnx.helper.set_model_props(graph, _metadata(model, None if dynamic else size))
    onnx.checker.check_model(graph)
    return bytes(graph.SerializeToString())


def onnx_model(module: nn.Module, image: Tensor, outputs: list[str], opset: int = OPSET, dynamic: bool = False) -> Any:
    """Returns the ``ModelProto`` of a module in evaluation mode, traced with ``image`` [1, 3, H, W], its input.

    ``dynamic``: H and W may be others.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # tells, in many lines, of packages that nobody needs
    sides = ({2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO},) if dynamic else None
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (image,), dynamic_shapes=sides).run_decompositions(_REWRITTEN)
        exported = torch.onnx.export(
            program, opset_version=opset, dynamo=True, verbose=False, input_names=["image"], output_names=outputs
        )
    assert exported is not None
    return exported.model_proto


def _metadata(model: LoadedModel, size: tuple[int, int] | None) -> dict[str, str]:
    card = model.card
    known = {
        "model": card.name,
        "sha256": file_digest(model.path),
        "classes": json.dumps([item.name for item in card.classes]),
        "threshold": f"{card.threshold()!r}" if card.default_threshold else "",
        "confidence": json.dumps({"midpoint": card.confidence.midpoint, "scale": card.confidence.scale}),
        "input_size": size_text(size) if size else "any",
        "input": "RGB, value / 255",
        "densehybrid_ros": __version__,
    }
    return {key: value for key, value in known.items() if value}


def _errors(network: DenseHybrid, content: bytes, size: tuple[int, int]) -> dict[str, float]:
    """Compares the file's outputs with those of the eager network, on random blotches."""
    image = blotches(size)
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    semantic, score = session.run(None, {"image": image.numpy()})
    placement = Placement(size, size, padded(size, network.input_stride))
    frame = torch.zeros(1, 3, *placement.network)
    frame[:, :, : size[0], : size[1]] = image
    with torch.no_grad():
        output = network(frame)
        positions = placement.sampling(output.logits.shape[2:], network.align_corners)
        logits, posterior = (enlarge(maps, size, sampling=positions) for maps in output)
        expected = hybrid(logits, posterior)[0].numpy()
    off = float(np.abs(score - expected).max())
    best = logits[0].topk(2, dim=0).values
    differ = torch.from_numpy(semantic) != logits[0].argmax(dim=0)
    if not off <= TOLERANCE or bool((differ & (best[0] - best[1] > TOLERANCE)).any()):
        raise InputError(
            f"export: at {size_text(size)} the file's score is off eager by {off:.3g} nats, or its classes are others; "
            "not written"
        )
    return {"score_error_max": off, "classes_differ": float(differ.float().mean())}


def _pool(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    height, width = maps.shape[2:]
    return pooling_matrix(grid[0], height) @ maps @ pooling_matrix(grid[1], width).T


_REWRITTEN = {
    # ONNX has no such operation, and PyTorch's exporter one of given sizes alone.
    torch.ops.aten.adaptive_avg_pool2d.default: _pool,
    # The exporter writes log(sigmoid(x)), which is minus infinity from -104 on, where scores of `light` lie.
    torch.ops.aten.log_sigmoid.default: lambda values: -functional.softplus(-values),
}
