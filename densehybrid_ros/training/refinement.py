"""Refining a good model by short runs from it, each of which counts as far as held-out figures say.

A long run from a mean of models leaves what made the mean good; a short one, averaged with what it started from, can
add to it (docs/training_log.md). Which ones do is seen on held-out frames alone, so those figures are what was
optimised, and no longer of unseen frames.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from densehybrid_ros.networks import DenseHybrid
from densehybrid_ros.training.averaging import Ingredient, average_models

Measure = Callable[[DenseHybrid], dict[str, float]]
"""Held-out figures of a model by name, higher = better."""


@dataclass(frozen=True)
class Round:
    """What came of one run.

    Attributes:
        number: From 1.
        share: Of the run in the mean with what it started from, the best of those tried.
        kept: Whether that mean is what the next run starts from.
        figures: Of that mean.
    """

    number: int
    share: float
    kept: bool
    figures: dict[str, float]


@dataclass
class Refinement:
    """The best model so far, and how it came about.

    Attributes:
        model: The best so far, in evaluation mode.
        measure: Its judge.
        shares: Of a run in the mean with the best model, that are tried; each above 0, at most 1.
        accept: Asked of a mean that is better by ``measure`` before it is kept; None: all are.
        figures: Of ``model``.
        rounds: What came of each run.
    """

    model: DenseHybrid
    measure: Measure
    shares: Sequence[float]
    accept: Callable[[DenseHybrid], bool] | None = None
    figures: dict[str, float] = field(init=False)
    rounds: list[Round] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.figures = self.measure(self.model)

    def offer(self, trained: DenseHybrid) -> Round:
        """Takes a run from ``model``, in evaluation mode, and keeps the best mean of both if it is better."""
        candidates = [self._mean(trained, share) for share in self.shares]
        figures = [self.measure(candidate) for candidate in candidates]
        best = max(range(len(candidates)), key=lambda index: mean_figure(figures[index]))
        kept = mean_figure(figures[best]) > mean_figure(self.figures)
        kept = kept and (self.accept is None or self.accept(candidates[best]))
        if kept:
            self.model, self.figures = candidates[best], figures[best]
        self.rounds.append(Round(len(self.rounds) + 1, self.shares[best], kept, figures[best]))
        return self.rounds[-1]

    def _mean(self, trained: DenseHybrid, share: float) -> DenseHybrid:
        mixed = copy.deepcopy(self.model)
        members = [Ingredient(trained, share, True), Ingredient(self.model, 1 - share, True)]
        mixed.load_state_dict(average_models(members))
        return mixed.eval()


def mean_figure(figures: Mapping[str, float]) -> float:
    """What models are compared by."""
    return sum(figures.values()) / len(figures)
