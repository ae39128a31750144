"""``densehybrid balance``: the weight of the dataset posterior in the hybrid score, chosen on held-out data."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from densehybrid_ros.cli.options import count, positives, size
from densehybrid_ros.datasets.registry import EVALUATION_SETS, open_evaluation_sets
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.balance import (
    COMPARED,
    best_weight,
    measure,
    score_name,
    weigh_posterior,
    weighted_scores,
)
from densehybrid_ros.evaluation.curves import CurveMetrics
from densehybrid_ros.evaluation.dense_scores import FrameScorer
from densehybrid_ros.evaluation.evaluate import score_all
from densehybrid_ros.inference.backends import choose_device
from densehybrid_ros.networks import LoadedModel, load_model, save_model

_WEIGHTS = "0.25,0.5,1,2,4,8,16,32"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = (
        "Without --output it prints the table alone. The model that is written has other scores: thresholds and\n"
        "figures are to be measured anew.\n\nexample:\n"
        "  densehybrid balance --model runs/light.safetensors --dataset road_anomaly21_val,road_obstacle21_val \\\n"
        "      --root DATA --output runs/balanced/light.safetensors"
    )
    parser.add_argument("--model", required=True, help="a shipped model's name or a .safetensors file")
    parser.add_argument(
        "--dataset",
        required=True,
        metavar="NAME[,NAME...]",
        help=f"several lie below ROOT: {', '.join(EVALUATION_SETS)}",
    )
    parser.add_argument("--root", type=Path, required=True, help="folder of the held-out data")
    parser.add_argument(
        "--weights",
        metavar="W,W,...",
        default=_WEIGHTS,
        help=f"by which the posterior's logits are multiplied ({_WEIGHTS})",
    )
    parser.add_argument("--output", type=Path, help=".safetensors file for the model with the best of them by mean AP")
    parser.add_argument("--size", type=size, metavar="WxH", help="size of the network's input (default: the images')")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--limit", type=count, metavar="N", help="evenly spread subset of at most this many frames")


@torch.inference_mode()
def run(args: argparse.Namespace) -> int:
    """Measures, prints, and writes the model if asked to."""
    if args.output is not None and args.output.suffix != ".safetensors":
        raise InputError(f"--output {args.output}: the name must end in .safetensors")
    weights = positives("--weights", args.weights)
    opened = open_evaluation_sets(args.dataset, args.root)
    device = choose_device(args.device)
    model = load_model(args.model, device)
    scores = weighted_scores(weights)
    scorer = FrameScorer(model.network, device, [*COMPARED, *scores], args.size and args.size[::-1], head_scores=scores)
    found = {
        name: measure(name, score_all(scorer, dataset, args.limit, f"balance on {name}"), device)
        for name, dataset in opened.items()
    }
    print(_table(found))
    best = best_weight(found, weights)
    beaten = all(
        figures[score_name(best)].average_precision > figures[other].average_precision
        for figures in found.values()
        for other in COMPARED
    )
    print(f"best by mean AP: weight {best:g}; {'above' if beaten else 'not above'} all other scores on every set")
    if args.output is not None:
        _write(args, model, best, found)
        print(f"{args.output}: thresholds and figures are to be measured anew")
    return 0


def _table(found: Mapping[str, Mapping[str, CurveMetrics]]) -> str:
    names = list(next(iter(found.values())))
    width = max(len(name) for name in (*names, "AP / FPR95 [%]"))
    lines = ["  ".join(["AP / FPR95 [%]".ljust(width), *(f"{name:>20}" for name in found), f"{'mean AP':>8}"])]
    for name in names:
        figures = [each[name] for each in found.values()]
        cells = [f"{100 * each.average_precision:.2f} / {100 * each.fpr95:.2f}" for each in figures]
        mean = 100 * sum(each.average_precision for each in figures) / len(figures)
        lines.append("  ".join([name.ljust(width), *(f"{cell:>20}" for cell in cells), f"{mean:8.2f}"]))
    return "\n".join(lines)


def _write(
    args: argparse.Namespace, model: LoadedModel, weight: float, found: Mapping[str, Mapping[str, CurveMetrics]]
) -> None:
    weigh_posterior(model.network, weight)
    stage: dict[str, Any] = {
        "stage": "balance",
        "posterior_weight": weight,
        "chosen_on": list(found),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }
    save_model(args.output, model.network, model.card.after(stage))
