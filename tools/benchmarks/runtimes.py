# SPDX-License-Identifier: Apache-2.0
"""The network on this CPU by eager, inductor, OpenVINO and ONNX Runtime, in fp32 and in turns: times eager's speed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import torch

from densehybrid_ros.cli.options import count, network_size
from densehybrid_ros.inference.engine_cache import EngineCache
from densehybrid_ros.inference.engine_rows import interleaved_ms
from densehybrid_ros.inference.engines import Engine, EngineSpec, blotches, eager_engine, heads_module
from densehybrid_ros.inference.input_policy import size_text
from densehybrid_ros.inference.onnx_export import check_packages, onnx_model
from densehybrid_ros.inference.openvino_engine import openvino_engine
from densehybrid_ros.networks import DenseHybrid, load_model
from running import run_benchmark

_CPU = torch.device("cpu")


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.epilog = "example:\n  python tools/benchmarks/runtimes.py --rounds 3 --repeats 15"
    parser.add_argument("--model", default="light", help="a shipped model's name or a .safetensors file (light)")
    parser.add_argument("--size", type=network_size, default=(512, 1024), metavar="WxH", help="(1024x512)")
    parser.add_argument("--rounds", type=count, default=3, help="medians to show (3)")
    parser.add_argument("--repeats", type=count, default=15, help="runs behind each median, in turns (15)")
    parser.add_argument("--inductor", action="store_true", help="inductor too, compiled where the cache has no engine")


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Measures.

    Raises:
        InputError: The model is not there, or one can't run it.
    """
    check_packages()
    model = load_model(args.model)
    images = blotches(args.size)
    engines = {"eager": eager_engine(model.network, "fp32", _CPU), "openvino": openvino_engine(model.network)}
    if args.inductor:
        cache = EngineCache(model.network, model.card.architecture, _CPU)
        engines["inductor"] = cache.build(EngineSpec("inductor", args.size, "fp32"))
    runs = {name: _run(engine, images) for name, engine in engines.items()}
    runs["onnxruntime"] = _onnx_run(model.network, images)
    with torch.inference_mode():
        expected = [np.asarray(each) for each in runs["eager"]()]
        errors = {name: _error(once(), expected) for name, once in runs.items()}
        rounds = [interleaved_ms(runs, args.repeats) for _ in range(args.rounds)]
    speeds = {name: [each["eager"] / each[name] for each in rounds] for name in runs}
    figures = {"size": size_text(args.size), "threads": torch.get_num_threads(), "errors": errors, "speeds": speeds}
    lines = [f"{args.model}, {figures['size']}, {figures['threads']} threads; times eager's speed, largest error"]
    for name, values in speeds.items():
        lines.append(f"{name:<12} {', '.join(f'{value:.2f}' for value in values)}  {errors[name]:.1e}")
    return figures, "\n".join(lines)


def _run(engine: Engine, images: torch.Tensor) -> Callable[[], Any]:
    buffer = engine.new_images((images.shape[2], images.shape[3]), _CPU).copy_(images)
    return lambda: engine.run(buffer)


def _onnx_run(network: DenseHybrid, images: torch.Tensor) -> Callable[[], Any]:
    module = heads_module(network, "fp32", _CPU, torch.contiguous_format)
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    graph = onnx_model(module, images, ["logits", "posterior"]).SerializeToString()
    session = runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"image": images.numpy()})


def _error(made: Any, expected: list[np.ndarray]) -> float:
    pairs = zip(made, expected, strict=True)
    return max(float(np.abs(np.asarray(each) - reference).max()) for each, reference in pairs)


if __name__ == "__main__":
    sys.exit(run_benchmark(configure, run))
