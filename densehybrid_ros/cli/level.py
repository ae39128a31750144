"""``densehybrid level``: how much of its surroundings' level is taken from the score, chosen on held-out data."""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import datetime, timezone

import torch

from densehybrid_ros.cli.held_out import add_options, comparison, is_above
from densehybrid_ros.cli.options import check_model_output, positives, shares
from densehybrid_ros.datasets.registry import open_evaluation_sets
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.balance import COMPARED, measure
from densehybrid_ros.evaluation.dense_scores import FrameScorer
from densehybrid_ros.evaluation.evaluate import score_all
from densehybrid_ros.evaluation.levels import (
    PLAIN,
    best_level,
    candidates,
    inlier_quantiles,
    level_name,
    offsets,
    on_levels,
)
from densehybrid_ros.inference.backends import choose_device
from densehybrid_ros.networks import LoadedModel, ScoreLevel, load_model, save_model

_SHARES, _REACHES = "0.3,0.45,0.6,0.8", "2,4"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = (
        "Without --output it prints the table alone. To be run after densehybrid balance. The model that is written\n"
        "has other scores: thresholds and figures are to be measured anew.\n\nexample:\n"
        "  densehybrid level --model runs/balanced/light.safetensors --root DATA \\\n"
        "      --dataset road_anomaly21_val,road_obstacle21_val --output runs/level/light.safetensors"
    )
    add_options(parser, "the best level by mean AP, or with none where that is better")
    parser.add_argument(
        "--shares", metavar="S,S,...", default=_SHARES, help=f"of the level that are taken, within 0..1 ({_SHARES})"
    )
    parser.add_argument(
        "--reaches",
        metavar="N,N,...",
        default=_REACHES,
        help=f"of the neighbourhood, in cells of 16 pixels ({_REACHES})",
    )


@torch.inference_mode()
def run(args: argparse.Namespace) -> int:
    """Measures, prints, and writes the model if asked to."""
    check_model_output(args.output)
    wanted, reaches = shares(args.shares), positives("--reaches", args.reaches)
    if any(reach != int(reach) for reach in reaches):
        raise InputError(f"--reaches {args.reaches}: must be whole numbers of cells")
    opened = open_evaluation_sets(args.dataset, args.root)
    device = choose_device(args.device)
    model = load_model(args.model, device)
    model.network.level = None
    size = args.size and args.size[::-1]
    plain = FrameScorer(model.network, device, [PLAIN], size)
    quantiles = [
        inlier_quantiles(score_all(plain, dataset, args.limit, f"quantiles of {name}"))
        for name, dataset in opened.items()
    ]
    levels = candidates(quantiles, wanted, [int(reach) for reach in reaches])
    maps = offsets(levels)
    scorer = FrameScorer(model.network, device, [*COMPARED, PLAIN, *maps], size, model_scores=maps)
    found = {
        name: measure(name, on_levels(score_all(scorer, dataset, args.limit, f"level on {name}"), levels), device)
        for name, dataset in opened.items()
    }
    print(comparison(found))
    best = best_level(found, levels)
    if best is None:
        print("best by mean AP: hybrid as it is, on no level")
    else:
        others = is_above(found, level_name(best), (PLAIN, *COMPARED))
        print(
            f"best by mean AP: {level_name(best)}; {'above' if others else 'not above'} all other scores on every set"
        )
    if args.output is not None:
        _write(args, model, best, list(found))
        print(f"{args.output}: thresholds and figures are to be measured anew")
    return 0


def _write(args: argparse.Namespace, model: LoadedModel, best: ScoreLevel | None, chosen_on: list[str]) -> None:
    stage = {"stage": "level", "chosen_on": chosen_on, "date": datetime.now(timezone.utc).date().isoformat()}
    save_model(args.output, model.network, replace(model.card.after(stage), score_level=best))
