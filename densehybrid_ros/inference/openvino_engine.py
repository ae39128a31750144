# SPDX-License-Identifier: Apache-2.0
"""The network run by OpenVINO, on CPUs where it is installed: it takes PyTorch's graph and compiles it in seconds."""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from densehybrid_ros.errors import InputError, kind_and_line
from densehybrid_ros.inference.engines import Engine, heads_module, pair
from densehybrid_ros.networks import DenseHybrid

_CPU = torch.device("cpu")
_MOST_SIZES = 4  # compiled for; more come from data sets with frames of any size, which would wait for each
_TRIAL_STRIDES = 4  # along a side


def openvino_problem(device: torch.device, precision: str | None = None) -> str | None:
    """Says in a few words why backend openvino can't run here; None where it can."""
    if device.type != "cpu":
        return "it is for CPUs"
    if (precision or "fp32") != "fp32":
        return "it is for precision fp32"
    return None if find_spec("openvino") else "OpenVINO is not installed (pip install openvino)"


def openvino_engine(network: DenseHybrid) -> Engine:
    """Makes an engine that compiles within this process for each size of its input, when it first comes.

    ``network`` is float32, anywhere, and left as it is.

    Raises:
        InputError: OpenVINO can't take this network.
    """
    heads = _Heads(network)
    side = _TRIAL_STRIDES * network.input_stride
    try:
        heads(torch.zeros(1, 3, side, side))
    except Exception as error:  # its front end, on operations that it does not know
        raise InputError(f"backend 'openvino': {kind_and_line(error)}; use eager or inductor") from error
    return Engine(pair(heads), "openvino", "fp32", None)


class _Heads:
    """Maps images to logits and posterior, which stay valid until the next call."""

    def __init__(self, network: DenseHybrid) -> None:
        self._module = heads_module(network, "fp32", _CPU, torch.contiguous_format)
        self._requests: dict[torch.Size, Any] = {}

    def __call__(self, images: Tensor) -> tuple[Tensor, ...]:
        request = self._requests.get(images.shape)
        if request is None:
            if len(self._requests) > _MOST_SIZES:  # one is the trial's
                return tuple(self._module(images))
            request = self._requests[images.shape] = self._compiled(images).create_infer_request()
        outputs = request.infer({0: images.numpy()}, share_inputs=True, share_outputs=True)
        return tuple(torch.from_numpy(outputs[index]) for index in range(len(outputs)))

    def _compiled(self, images: Tensor) -> Any:
        openvino = import_module("openvino")
        with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing: sizes become constants, as they shall
            example = torch.zeros(images.shape)
            # Traced and frozen here: OpenVINO itself would run the network several times.
            graph = torch.jit.freeze(torch.jit.trace(self._module, example, check_trace=False))
            model = openvino.convert_model(graph, example_input=example, input=[list(example.shape)])
        how = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",  # by default bf16 where the processor has it
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        return openvino.Core().compile_model(model, "CPU", how)
