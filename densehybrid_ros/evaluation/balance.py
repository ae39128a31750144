"""How the dataset posterior counts in the hybrid score, measured on held-out data.

Equation (8) adds ln P(d_out|x) to minus the logarithm of a density that is not normalised: in which range the
log-sum-exp of the logits lies is a matter of training. Where it is wide, the posterior has no say. Its two logits
multiplied by a weight (a temperature, as in calibration: Guo et al., ICML 2017) give it one.

ln P(d_out|x) ends at 0: what is surely unknown is ranked by the density alone. But how sure the posterior is depends on
how many outliers there were among the pixels of training, and there are far fewer on a road. By Bayes' rule, other
priors move the logit of the outliers by a constant (Saerens et al., Neural Computation 2002).

Neither half's ranking of the pixels changes by that, nor any class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from densehybrid_ros.evaluation.curves import CurveMetrics
from densehybrid_ros.evaluation.dense_scores import ScoredFrame
from densehybrid_ros.evaluation.pixel_accumulator import PixelAccumulator
from densehybrid_ros.evaluation.thresholds import anomaly_labels, check_both_kinds
from densehybrid_ros.networks import DenseHybrid, LoadedModel, ModelCard
from densehybrid_ros.scores.hybrid import hybrid

_RUNS = ("closed_set", "open_set")  # stages after which a posterior is as it was trained

AS_TRAINED = "posterior_as_trained"
"""Key of a stage in a card before which balances were undone."""

COMPARED = ("posterior", "likelihood", "max_softmax", "max_logit")
"""What the hybrid is to be better than."""


@dataclass(frozen=True)
class Balance:
    """What becomes of the posterior's logits.

    Attributes:
        weight: Above 0; both are multiplied by it. 1 is equation (8) as the model was trained.
        rarity: Nats, not negative, taken from the outliers' logit then: how much rarer they are than in training.
    """

    weight: float = 1.0
    rarity: float = 0.0

    @property
    def name(self) -> str:
        """What the hybrid with this balance is called among scores."""
        return f"hybrid, weight {self.weight:g}" + (f", rarity {self.rarity:g}" if self.rarity else "")

    def hybrid(self, logits: Tensor, posterior: Tensor) -> Tensor:
        """Returns the hybrid score of a model with this balance.

        Args:
            logits: [B, K, H, W].
            posterior: [B, 2, H, W], index 1 = outlier; as trained.

        Returns:
            float32 [B, H, W]; higher = more anomalous.
        """
        weighted = self.weight * posterior.float()
        return hybrid(logits, weighted - weighted.new_tensor([0.0, self.rarity]).view(2, 1, 1))

    @torch.no_grad()
    def apply(self, model: DenseHybrid) -> None:
        """Changes the weights of the model's posterior head accordingly."""
        weight, bias = _head(model)
        weight.mul_(self.weight)
        bias.mul_(self.weight)
        bias[1] -= self.rarity

    @torch.no_grad()
    def undo(self, model: DenseHybrid) -> None:
        """Takes ``apply`` back."""
        weight, bias = _head(model)
        bias[1] += self.rarity
        weight.div_(self.weight)
        bias.div_(self.weight)


def balances(card: ModelCard) -> list[Balance]:
    """What balances have done to the posterior's logits since it was as trained, the first one first."""
    found: list[Balance] = []
    for stage in reversed(card.details.get("training", [])):
        if stage.get("stage") in _RUNS or stage.get(AS_TRAINED):
            break
        if stage.get("stage") == "balance":
            found.append(Balance(float(stage["posterior_weight"]), float(stage.get("rarity", 0.0))))
    return found[::-1]


def make_trainable(model: LoadedModel) -> None:
    """Gives a model the heads that it was trained with: no balance, no level. Both are measured after training."""
    model.network.level = None
    for balance in reversed(balances(model.card)):
        balance.undo(model.network)


def _head(model: DenseHybrid) -> tuple[Tensor, Tensor]:
    convolution = model.posterior_head.conv
    assert convolution.bias is not None
    return convolution.weight, convolution.bias


def measure(name: str, frames: Iterable[ScoredFrame], device: torch.device) -> dict[str, CurveMetrics]:
    """Measures every score of a data set's frames, pooled over all labelled pixels, exactly.

    Raises:
        InputError: They hold no anomalous or no inlier pixel.
    """
    found: dict[str, PixelAccumulator] = {}
    for item in frames:
        labels = torch.from_numpy(anomaly_labels(item.frame)).to(device)
        for score, values in item.scores.items():
            found.setdefault(score, PixelAccumulator()).update(values, labels, item.frame.name)
    for pixels in found.values():
        check_both_kinds(name, pixels)
    return {score: pixels.compute() for score, pixels in found.items()}


def best_balance(sets: Mapping[str, Mapping[str, CurveMetrics]], tried: Sequence[Balance]) -> Balance:
    """The balance with the highest mean AP over the data sets; of equal ones that which changes least.

    Args:
        sets: Data set -> what ``measure`` returned, by ``Balance.name``.
        tried: The balances measured.
    """

    def rank(balance: Balance) -> tuple[float, float, float]:
        mean = sum(figures[balance.name].average_precision for figures in sets.values()) / len(sets)
        return mean, -balance.rarity, -max(balance.weight, 1 / balance.weight)

    return max(tried, key=rank)
