"""Learning from a frozen model: its class posterior, its hybrid score, and the features of its encoder as hints.

Classes and score may be the mean of what the teacher says at several scales of a crop, which docs/training.md compares
with a single look; a model that learns it looks once. Small outliers fade in that mean, so that on outliers, where the
truth is known, the scale that finds them most unknown may be learnt instead.

An encoder that starts from random weights gets from the hints what others get from pre-training on ImageNet, if the
teacher's encoder was pre-trained (Romero et al., FitNets, ICLR 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from densehybrid_ros.networks import DenseHybrid, HybridOutput, upsample
from densehybrid_ros.training.losses import OUTLIER, mask_at, mean_where

_LIKELIHOOD_RANGE, _ODDS_RANGE = 10.0, 4.0  # nats
_STRIDE = 32  # of the encoders


class Lesson(NamedTuple):
    """What a teacher says of a batch.

    Attributes:
        logits: float32 [B, K, h, w], the mean over the scales.
        features: Of its encoder at strides 4, 8, 16 and 32, at scale 1; none where hints are not asked for.
        halves: float32 [B, 2, h, w], see ``score_halves``, the mean over the scales; None where the score is not asked
            for.
        keenest: float32 [B, 2, h, w], of each half the most unknown that any scale finds a pixel; None likewise.
    """

    logits: Tensor
    features: list[Tensor]
    halves: Tensor | None = None
    keenest: Tensor | None = None


@torch.no_grad()
def lesson(
    teacher: DenseHybrid,
    images: Tensor,
    with_features: bool,
    scales: Sequence[float] = (1.0,),
    with_score: bool = False,
) -> Lesson:
    """Runs a frozen teacher on images [B, 3, H, W].

    Args:
        teacher: In evaluation mode.
        images: float, RGB in 0..1.
        with_features: Whether hints are asked for.
        scales: Of the images at which it judges classes and score.
        with_score: Whether the score is asked for.
    """
    features = teacher.network.encode(images) if with_features else []
    prelogits, logits = teacher.network.decode(features) if with_features else teacher.network(images)
    size = (int(logits.shape[2]), int(logits.shape[3]))
    at_one = HybridOutput(logits, teacher.posterior_head(prelogits))
    outputs = [at_one if scale == 1 else teacher(rescaled(images, scale)) for scale in scales]

    def on_one_grid(maps: Sequence[Tensor]) -> Tensor:
        return torch.stack([upsample(part.float(), size, teacher.align_corners) for part in maps])

    classes = on_one_grid([output.logits for output in outputs]).mean(0)
    if not with_score:
        return Lesson(classes, features)
    halves = on_one_grid([score_halves(output) for output in outputs])
    keenest = torch.stack([halves[:, :, 0].amin(0), halves[:, :, 1].amax(0)], dim=1)
    return Lesson(classes, features, halves.mean(0), keenest)


def rescaled(images: Tensor, scale: float) -> Tensor:
    """Resizes [B, 3, H, W] to ``scale`` times its size, sides being multiples of the encoders' stride."""
    size = [max(_STRIDE, round(side * scale / _STRIDE) * _STRIDE) for side in images.shape[2:]]
    resized = functional.interpolate(images, size, mode="bilinear", antialias=scale < 1, align_corners=False)
    return resized.contiguous(memory_format=torch.channels_last)


def score_halves(output: HybridOutput) -> Tensor:
    """Returns what the hybrid score is made of, float32 [B, 2, h, w]: ln p̂(x), and ln P(d_out|x) - ln P(d_in|x)."""
    posterior = output.posterior.float()
    return torch.stack([output.logits.float().logsumexp(1), posterior[:, 1] - posterior[:, 0]], dim=1)


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


def score_loss(
    halves: Tensor, learnt: Tensor, origin: Tensor, keenest: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """Distance of a model's score from its teacher's, relative where the teacher's is large.

    A half that is t for the teacher and s for the model is |s - t| / (u + |t|) away, where u is the range of that half
    on inliers. So what is far out, down to -100 nats of ln p̂ on outliers, neither rules the loss nor is cut off. The
    mean over what is no outlier and the mean over outliers, of which there are few, count alike.

    Args:
        halves: float [B, 2, h, w], of the model that learns; see ``score_halves``.
        learnt: float [B, 2, h, w], of the teacher.
        origin: integer [B, H, W]; 1 = outlier. Taken at the nearest pixel where its size differs.
        keenest: float [B, 2, h, w], what is learnt of the teacher on outliers instead; None: the same.
        weights: float [B, H, W], how much each outlier counts; None: all alike.
    """
    size = (int(halves.shape[2]), int(halves.shape[3]))
    outlier = mask_at(origin, size) == OUTLIER
    if keenest is not None:
        learnt = torch.where(outlier.unsqueeze(1), keenest, learnt)
    if weights is not None:
        weights = functional.interpolate(weights.unsqueeze(1), size, mode="nearest-exact").squeeze(1)
    likelihood, odds = (halves - learnt).abs().unbind(1)
    distance = likelihood / (_LIKELIHOOD_RANGE + learnt[:, 0].abs()) + odds / (_ODDS_RANGE + learnt[:, 1].abs())
    return mean_where(distance, ~outlier) + mean_where(distance, outlier, weights)
