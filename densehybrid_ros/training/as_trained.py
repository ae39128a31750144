"""A model with the heads that it was trained with, which is what training starts from and learns of."""

from __future__ import annotations

import torch

from densehybrid_ros.networks import LoadedModel

_TRAINED = ("closed_set", "open_set")  # stages of a card after which a posterior is as it was trained


@torch.no_grad()
def make_trainable(model: LoadedModel) -> None:
    """Takes out what was chosen after training: the level of the score, and the balance of the posterior.

    A stage ``balance`` in the card says by what both logits of the posterior were multiplied, and what was taken from
    that of the outliers then.
    """
    model.network.level = None
    convolution = model.network.posterior_head.conv
    assert convolution.bias is not None
    for stage in reversed(model.card.details.get("training", [])):
        if stage.get("stage") in _TRAINED or stage.get("posterior_as_trained"):
            break
        if stage.get("stage") == "balance":
            convolution.bias[1] += stage.get("rarity", 0.0)
            convolution.weight /= stage["posterior_weight"]
            convolution.bias /= stage["posterior_weight"]
