# SPDX-License-Identifier: Apache-2.0
"""What a backend and its precision cost in average precision, against eager fp32 on the same frames.

Every frame goes through the whole segmenter, scaled to --size, on each backend that the cache has an engine for and on
the eager network; the differences are in points of AP and FPR95 over all pixels of the data set.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from densehybrid_ros.cli.options import count, network_size, output_folder
from densehybrid_ros.datasets.registry import EVALUATION_SETS, open_evaluation_set
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.pixel_accumulator import PixelAccumulator
from densehybrid_ros.inference import Segmenter
from densehybrid_ros.inference.backends import choose_device
from densehybrid_ros.inference.engines import PRECISIONS
from densehybrid_ros.inference.input_policy import size_text
from densehybrid_ros.networks import load_model
from densehybrid_ros.progress import progress
from running import run_benchmark


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.epilog = (
        "example:\n  python tools/benchmarks/accuracy.py --model ldn121 --dataset road_anomaly21_val "
        "--root /data/road_anomaly21_val --size 2048x1024"
    )
    parser.add_argument("--model", default="light", help="a shipped model's name or a .safetensors file (light)")
    parser.add_argument("--dataset", required=True, metavar="NAME", help=", ".join(EVALUATION_SETS))
    parser.add_argument("--root", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--size", type=network_size, metavar="WxH", help="of the network's input (the card's size)")
    parser.add_argument("--frames", type=count, metavar="N", help="take the first N frames (all)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto)")
    parser.add_argument(
        "--cache", type=output_folder, metavar="DIR", help="where engines are kept (user's cache directory)"
    )


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Measures and returns the figures and the table.

    Raises:
        InputError: Model, data set or device is not there.
    """
    device = choose_device(args.device)
    model = load_model(args.model)
    size = args.size or model.card.input_size
    frames = open_evaluation_set(args.dataset, args.root)
    pipelines: dict[str, Segmenter] = {}
    for backend in ("eager", "inductor", "tensorrt"):
        for precision in PRECISIONS:
            try:
                segmenter = Segmenter(
                    model,
                    backend,
                    args.device,
                    size=size,
                    input_policy="resize",
                    precision=precision,
                    cache=args.cache,
                    at_once=True,
                )
            except InputError:
                continue  # no such precision on this backend or device
            if segmenter.backend == backend:
                pipelines[f"{backend} {precision}"] = segmenter
    pools = {name: PixelAccumulator() for name in pipelines}
    indices = range(min(args.frames or len(frames), len(frames)))
    for index in progress(indices, args.dataset):
        frame = frames[index]
        if frame.anomaly is None:
            raise InputError(f"--dataset {args.dataset}: it has no anomalies")
        labels = torch.from_numpy(frame.anomaly).to(device)
        for name, segmenter in pipelines.items():
            score = torch.from_numpy(segmenter(frame.image, 0.0).anomaly_score)
            pools[name].update(score.to(device), labels, frame.name)
    metrics = {name: pool.compute() for name, pool in pools.items()}
    figures = {name: {"ap": 100 * each.average_precision, "fpr95": 100 * each.fpr95} for name, each in metrics.items()}
    base = figures["eager fp32"]
    lines = [f"{model.card.name}, {args.dataset}, {len(indices)} frames, {size_text(size)}"]
    for name, values in figures.items():
        ap, fpr = values["ap"], values["fpr95"]
        changes = f"{ap - base['ap']:+.3f}, FPR95 {fpr:.3f} {fpr - base['fpr95']:+.3f}"
        lines.append(f"{name:<14}  AP {ap:.3f} {changes}")
    print(file=sys.stderr)
    return {"frames": len(indices), "size": size_text(size), "backends": figures}, "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_benchmark(configure, run))
