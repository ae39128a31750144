# SPDX-License-Identifier: Apache-2.0
"""``densehybrid compile``: builds an engine for one model and input size ahead of time, into the cache.

auto and the node take it from there. It holds for this GPU or processor and these versions; on another machine,
or after an update, run the command again.
"""

from __future__ import annotations

import argparse
import time

from densehybrid_ros.cli.options import add_json, network_size, output_folder
from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.backends import BACKENDS, backend_to_build, choose_device
from densehybrid_ros.inference.engine_cache import EngineCache
from densehybrid_ros.inference.engines import PRECISIONS, EngineSpec, check_precision, default_precision
from densehybrid_ros.inference.input_policy import padded, size_text
from densehybrid_ros.networks import load_model
from densehybrid_ros.progress import steps


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.description = __doc__.replace("``", "") if __doc__ else None
    parser.epilog = "example:\n  densehybrid compile --model ldn121 --size 2048x1024 --precision fp16"
    parser.add_argument("--model", default="light", help="a shipped model's name or a .safetensors file (light)")
    parser.add_argument("--size", type=network_size, metavar="WxH", help="size of the frames (the card's size)")
    parser.add_argument(
        "--precision", choices=[*PRECISIONS], help="of weights and activations (fp16 on a GPU, fp32 on a CPU)"
    )
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="auto: block sizes of the fused kernels (backend eager) on a GPU that runs them, else tensorrt where "
        "torch_tensorrt imports, else inductor",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument(
        "--cache", type=output_folder, metavar="DIR", help="where engines are kept (user's cache directory)"
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Builds the engine, or says that it is there.

    Raises:
        InputError: Model, backend or precision is not available here, or compiling failed.
    """
    device = choose_device(args.device)
    precision = args.precision or default_precision(device)
    model = load_model(args.model)
    backend = backend_to_build(args.backend, model.network, device, precision)
    check_precision(precision, backend, device)
    size = args.size or model.card.input_size
    spec = EngineSpec(backend, padded(size, model.network.input_stride), precision)
    cache = EngineCache(model.network, model.card.architecture, device, args.cache)
    if problem := cache.files.problem:
        raise InputError(problem)
    padding = f", padded to {size_text(spec.size)}" if spec.size != size else ""
    what = f"{model.card.name}, {backend} {precision}, {size_text(size)}{padding}"
    began = time.monotonic()
    with steps("compile") as report:
        report(what)
        engine, problem = cache.find(spec)
        built = engine is None
        if engine is None:
            report(problem)
            engine = cache.build(spec, report)
    seconds = time.monotonic() - began
    if args.json:
        about = {"model": model.card.name, "backend": backend, "precision": precision, "size": size_text(spec.size)}
        about |= {"seconds": seconds, "built": built, "folder": str(cache.files.directory)}
        args.json.write({**about, **engine.facts})
    mean, largest = engine.facts["score_error_mean"], engine.facts["score_error_max"]
    done = f"built in {seconds:.0f} s" if built else "already there"
    error = f"score off eager fp32 by {mean:.2g} nats on average, {largest:.2g} at most"
    print(f"{what}: {done}, in {cache.files.directory}: {engine.reason}; {error}")
    return 0
