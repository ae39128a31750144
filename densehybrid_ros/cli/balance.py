"""``densehybrid balance``: how the dataset posterior counts in the hybrid score, chosen on held-out data."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import torch

from densehybrid_ros.cli.held_out import add_options, comparison, is_above
from densehybrid_ros.cli.options import check_model_output, not_negatives, positives
from densehybrid_ros.datasets.registry import open_evaluation_sets
from densehybrid_ros.evaluation.balance import COMPARED, Balance, best_balance, measure
from densehybrid_ros.evaluation.curves import CurveMetrics
from densehybrid_ros.evaluation.dense_scores import FrameScorer
from densehybrid_ros.evaluation.evaluate import score_all
from densehybrid_ros.inference.backends import choose_device
from densehybrid_ros.networks import LoadedModel, load_model, save_model

_WEIGHTS, _RARITIES = "0.25,0.5,1,2,4,8,16,32", "0"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = (
        "Without --output it prints the table alone. The model that is written has other scores: thresholds and\n"
        "figures are to be measured anew.\n\nexample:\n"
        "  densehybrid balance --model runs/light.safetensors --dataset road_anomaly21_val,road_obstacle21_val \\\n"
        "      --root DATA --output runs/balanced/light.safetensors"
    )
    add_options(parser, "the best of them by mean AP")
    parser.add_argument(
        "--weights",
        metavar="W,W,...",
        default=_WEIGHTS,
        help=f"by which the posterior's logits are multiplied ({_WEIGHTS})",
    )
    parser.add_argument(
        "--rarities",
        metavar="N,N,...",
        default=_RARITIES,
        help=f"nats by which the outliers' logit is lowered then, for they are rarer than in training ({_RARITIES})",
    )


@torch.inference_mode()
def run(args: argparse.Namespace) -> int:
    """Measures, prints, and writes the model if asked to."""
    check_model_output(args.output)
    weights, rarities = positives("--weights", args.weights), not_negatives("--rarities", args.rarities)
    tried = [Balance(weight, rarity) for rarity in rarities for weight in weights]
    opened = open_evaluation_sets(args.dataset, args.root)
    device = choose_device(args.device)
    model = load_model(args.model, device)
    model.network.level = None  # it belongs to the weight that the posterior has
    scores = {balance.name: balance.hybrid for balance in tried}
    scorer = FrameScorer(model.network, device, [*COMPARED, *scores], args.size and args.size[::-1], head_scores=scores)
    found = {
        name: measure(name, score_all(scorer, dataset, args.limit, f"balance on {name}"), device)
        for name, dataset in opened.items()
    }
    print(comparison(found))
    best = best_balance(found, tried)
    beaten = is_above(found, best.name, COMPARED)
    print(f"best by mean AP: {best.name}; {'above' if beaten else 'not above'} all other scores on every set")
    if args.output is not None:
        _write(args, model, best, found)
        print(f"{args.output}: thresholds and figures are to be measured anew")
    return 0


def _write(
    args: argparse.Namespace, model: LoadedModel, balance: Balance, found: Mapping[str, Mapping[str, CurveMetrics]]
) -> None:
    balance.apply(model.network)
    stage: dict[str, Any] = {
        "stage": "balance",
        "posterior_weight": balance.weight,
        "rarity": balance.rarity,
        "chosen_on": list(found),
        "date": datetime.now(timezone.utc).date().isoformat(),
    }
    save_model(args.output, model.network, model.card.after(stage))
