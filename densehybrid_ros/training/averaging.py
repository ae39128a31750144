"""Averaging models that were fine-tuned from the same origin, among them the origin itself.

Fine-tuning on negatives costs closed-set accuracy, and runs differ in which errors they make. The mean of their weights
holds a better compromise than each of them, at no cost in speed (Wortsman et al., Model soups, ICML 2022; Robust
fine-tuning of zero-shot models, CVPR 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import DenseHybrid

_HEAD = "posterior_head."


@dataclass(frozen=True)
class Ingredient:
    """A model with its weight in the mean.

    Attributes:
        model: The model.
        share: Its weight; shares need not sum to 1.
        has_posterior: Whether its posterior head was trained. That of a closed-set model was not, and stays out.
    """

    model: DenseHybrid
    share: float
    has_posterior: bool


@torch.no_grad()
def average_models(ingredients: Sequence[Ingredient]) -> dict[str, Tensor]:
    """Returns the weighted mean of the models' weights and batch-norm statistics as a state dict.

    Raises:
        InputError: The architectures differ, a share is negative, all are zero, or no posterior head was trained.
    """
    if any(item.share < 0 for item in ingredients) or not sum(item.share for item in ingredients):
        raise InputError("--shares: must not be negative, nor all zero")
    if not sum(item.share for item in ingredients if item.has_posterior):
        raise InputError("none of the models has a trained posterior head; average in an open-set one")
    states = [item.model.state_dict() for item in ingredients]
    shapes = [{key: value.shape for key, value in state.items()} for state in states]
    if any(shape != shapes[0] for shape in shapes):
        raise InputError("the models differ in architecture or class count; only like ones can be averaged")
    return {key: _mean(key, ingredients, [state[key] for state in states]) for key in states[0]}


def _mean(key: str, ingredients: Sequence[Ingredient], values: list[Tensor]) -> Tensor:
    if not values[0].is_floating_point():
        return values[0].clone()
    shares = [item.share if item.has_posterior or not key.startswith(_HEAD) else 0.0 for item in ingredients]
    total = sum(shares)
    return torch.stack([share / total * value for share, value in zip(shares, values, strict=True)]).sum(0)
