"""``densehybrid average``: the weighted mean of models that were fine-tuned from the same origin."""

from __future__ import annotations

import argparse
from typing import Any

from densehybrid_ros.cli.options import check_model_output, not_negatives, output_file
from densehybrid_ros.datasets.taxonomy import class_difference
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.balance import AS_TRAINED, balances, make_trainable
from densehybrid_ros.networks import LoadedModel, load_model, save_model
from densehybrid_ros.training.averaging import Ingredient, average_models


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = (
        "A balance of a posterior is undone first, and a level left out: choose both for the mean.\n\nexample:\n"
        "  densehybrid average runs/a/light.safetensors runs/b/light.safetensors runs/closed/light.safetensors \\\n"
        "      --shares 0.4,0.4,0.2 --output runs/mean/light.safetensors"
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help=".safetensors files; the first one's card is kept")
    parser.add_argument("--shares", metavar="S,S,...", help="weight of each model (default: equal)")
    parser.add_argument("--output", type=output_file, required=True, help=".safetensors file to write")


def run(args: argparse.Namespace) -> int:
    """Averages and saves."""
    check_model_output(args.output)
    models = [load_model(name) for name in args.models]
    _check_like(models)
    weighed = any(balances(model.card) or model.card.score_level for model in models)
    for model in models:
        make_trainable(model)  # heads of different balances have no mean
    shares = _shares(args.shares, len(models))
    ingredients = [
        Ingredient(model.network, share, _has_posterior(model)) for model, share in zip(models, shares, strict=True)
    ]
    network = models[0].network
    state = average_models(ingredients)
    network.load_state_dict(state)
    stage = _stage(models, shares) | ({AS_TRAINED: True} if weighed else {})
    save_model(args.output, network, models[0].card.after(stage))
    undone = ", its posterior as it was trained, on no level" if weighed else ""
    print(f"{args.output}: mean of {len(models)} models{undone}; thresholds and figures are to be measured anew")
    return 0


def _check_like(models: list[LoadedModel]) -> None:
    first = models[0]
    for model in models[1:]:
        if (model.card.architecture, model.card.num_classes) != (first.card.architecture, first.card.num_classes):
            raise InputError(
                f"{model.path}: is {model.card.architecture} with {model.card.num_classes} classes, {first.path} "
                f"{first.card.architecture} with {first.card.num_classes}; leave it out, only like models have a mean"
            )
        if difference := class_difference(model.card.classes, first.card.classes):
            raise InputError(
                f"{model.path}: {difference} as {first.path} does; leave it out, only like models have a mean"
            )


def _shares(text: str | None, count: int) -> list[float]:
    if text is None:
        return [1.0] * count
    shares = not_negatives("--shares", text)
    if len(shares) != count:
        raise InputError(f"--shares {text}: {len(shares)} numbers for {count} models")
    return shares


def _has_posterior(model: LoadedModel) -> bool:
    """Whether the posterior head was ever trained; a closed-set stage after that leaves it so, but for its norm."""
    stages = model.card.details.get("training") or []
    return any(stage.get("stage") != "closed_set" for stage in stages) or not stages


def _stage(models: list[LoadedModel], shares: list[float]) -> dict[str, Any]:
    """Describes the averaging for the card, with the last training stage of each further model."""
    members = []
    for model, share in zip(models, shares, strict=True):
        stages = model.card.details.get("training") or [{}]
        keep = ("stage", "command", "seed", "steps", "validation")
        members.append({"share": share, **{key: stages[-1][key] for key in keep if key in stages[-1]}})
    return {"stage": "average", "members": members}
