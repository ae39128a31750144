"""Learning from a frozen model: its class posterior, and the features of its encoder as hints.

An encoder that starts from random weights gets from the hints what others get from pre-training on ImageNet, if the
teacher's encoder was pre-trained (Romero et al., FitNets, ICLR 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from densehybrid_ros.networks import DenseHybrid, HybridOutput


class Lesson(NamedTuple):
    """What a teacher says of a batch.

    Attributes:
        logits: [B, K, h, w].
        features: Of its encoder at strides 4, 8, 16 and 32; none where hints are not asked for.
    """

    logits: Tensor
    features: list[Tensor]


@torch.no_grad()
def lesson(teacher: DenseHybrid, images: Tensor, with_features: bool) -> Lesson:
    """Runs a frozen teacher on images [B, 3, H, W]."""
    if not with_features:
        return Lesson(teacher.network(images)[1], [])
    features = teacher.network.encode(images)
    return Lesson(teacher.network.decode(features)[1], features)


class HintedModel(nn.Module):
    """A model that also shows the features of its encoder, translated to the teacher's channels by 1x1 convolutions."""

    def __init__(self, model: DenseHybrid, teacher: DenseHybrid, sample: Tensor) -> None:
        """Finds the channels of both encoders on a sample image [1, 3, H, W]."""
        super().__init__()
        self.model = model
        was_training = model.training
        model.eval()
        with torch.no_grad():
            channels = [
                [int(part.shape[1]) for part in each.network.encode(sample)] for each in (model.eval(), teacher)
            ]
        model.train(was_training)
        self.translators = nn.ModuleList(nn.Conv2d(own, theirs, 1) for own, theirs in zip(*channels, strict=True))
        self.translators.to(sample.device)

    def forward(self, images: Tensor) -> tuple[HybridOutput, list[Tensor]]:
        """Returns what the model returns, and the translated features."""
        features = self.model.network.encode(images)
        prelogits, logits = self.model.network.decode(features)
        hints = [translate(part) for translate, part in zip(self.translators, features, strict=True)]
        return HybridOutput(logits, self.model.posterior_head(prelogits)), hints


def hint_loss(hints: Sequence[Tensor], features: Sequence[Tensor]) -> Tensor:
    """Mean of 1 - cosine between translated and true features of the teacher, over positions and strides."""
    losses = [
        1 - functional.cosine_similarity(own.float(), theirs.float(), dim=1).mean()
        for own, theirs in zip(hints, features, strict=True)
    ]
    return torch.stack(losses).mean()
