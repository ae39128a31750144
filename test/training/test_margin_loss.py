# SPDX-License-Identifier: Apache-2.0
"""The compound loss with margins: against a float64 reference, gradients, weights, and batches that lack something."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp

from densehybrid_ros.training.losses import (
    INLIER,
    NEITHER,
    OUTLIER,
    Margins,
    hardest_mean,
    inlier_likelihood,
    margin_loss,
    mean_where,
)

K = 4
MARGINS = Margins(beta=0.2, floor=-1.0, ceiling=3.0, posterior=0.5, hard_share=0.0)


@pytest.fixture
def batch() -> tuple[torch.Tensor, ...]:
    """Logits and posterior in float64, labels, origin, and weights of outliers."""
    generator = torch.Generator().manual_seed(4)
    labels = torch.randint(0, K, (2, 6, 8), generator=generator)
    origin = torch.full_like(labels, INLIER)
    labels[:, 1:3, 2:6], origin[:, 1:3, 2:6] = 255, OUTLIER
    labels[:, 5], origin[:, 5] = 255, NEITHER
    logits = 3 * torch.randn(2, K, 6, 8, generator=generator, dtype=torch.float64)
    posterior = 3 * torch.randn(2, 2, 6, 8, generator=generator, dtype=torch.float64)
    weights = torch.rand(2, 6, 8, generator=generator, dtype=torch.float64) + 0.2
    return logits, posterior, labels, origin, weights


def test_it_is_its_equation(batch: tuple[torch.Tensor, ...]) -> None:
    logits, posterior, labels, origin, weights = batch
    s, d, y, o, w = (part.numpy() for part in batch)
    closed = [-log_softmax(s[b, :, i, j])[y[b, i, j]] for b, i, j in np.ndindex(*y.shape) if y[b, i, j] != 255]
    inside = [place for place in np.ndindex(*y.shape) if o[place] == INLIER]
    outside = [place for place in np.ndindex(*y.shape) if o[place] == OUTLIER]

    def values(maps: np.ndarray, b: int, i: int, j: int) -> np.ndarray:
        return maps[b, :, i, j]

    share = np.array([w[place] for place in outside])
    inlier = np.mean([-log_softmax(values(d, *place))[0] for place in inside])
    outlier = np.average([-log_softmax(values(d, *place))[1] for place in outside], weights=share)
    below = np.average([max(-1.0, logsumexp(values(s, *place))) for place in outside], weights=share)
    above = np.mean([max(0.0, 3.0 - logsumexp(values(s, *place))) for place in inside])
    made = margin_loss(logits, posterior, labels, origin, MARGINS, weights)
    expected = np.mean(closed) + 0.5 * (inlier + outlier) + 0.2 * (below + above)
    assert float(made["loss"]) == pytest.approx(expected, abs=1e-9)
    assert float(made["inlier_likelihood"]) == pytest.approx(above, abs=1e-9)


@pytest.mark.parametrize("hard_share", [0.0, 0.3])
def test_gradcheck(batch: tuple[torch.Tensor, ...], hard_share: float) -> None:
    logits, posterior, labels, origin, weights = batch
    margins = MARGINS._replace(hard_share=hard_share)

    def loss(scores: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
        return margin_loss(scores, head, labels, origin, margins, weights)["loss"]

    assert torch.autograd.gradcheck(loss, (logits.requires_grad_(), posterior.requires_grad_()))


def test_beyond_its_margins_the_likelihood_is_left_alone(batch: tuple[torch.Tensor, ...]) -> None:
    logits, _, _, origin, _ = batch
    high = (logits + 100).requires_grad_()
    assert float(inlier_likelihood(high, origin, 3.0).detach()) == 0
    low = (logits - 100).requires_grad_()
    margin_loss(low, torch.zeros(2, 2, 6, 8), torch.full((2, 6, 8), 255), origin, MARGINS)[
        "outlier_likelihood"
    ].backward()
    assert not low.grad.any()


def test_the_hardest_inliers_make_up_half_of_the_likelihood_as_well(batch: tuple[torch.Tensor, ...]) -> None:
    logits, _, _, origin, _ = batch
    missing = (3.0 - logits.logsumexp(1)).clamp(min=0)
    hardest = hardest_mean(missing, origin == INLIER, 0.3)
    mean = inlier_likelihood(logits, origin, 3.0)
    assert float(hardest) > float(mean)
    assert float(inlier_likelihood(logits, origin, 3.0, 0.3)) == pytest.approx(float(mean + hardest) / 2)


@pytest.mark.parametrize("lacking", [INLIER, OUTLIER])
def test_a_batch_that_lacks_something_trains_on(batch: tuple[torch.Tensor, ...], lacking: int) -> None:
    logits, posterior, labels, origin, weights = batch
    origin = torch.where(origin == lacking, NEITHER, origin)
    logits.requires_grad_()
    made = margin_loss(logits, posterior, labels, origin, MARGINS._replace(hard_share=0.1), weights)
    made["loss"].backward()
    assert torch.isfinite(made["loss"])
    assert torch.isfinite(logits.grad).all()


def test_the_hardest_are_the_largest() -> None:
    values = torch.arange(64 * 64, dtype=torch.float32).view(1, 64, 64)
    mask = torch.ones_like(values, dtype=torch.bool)
    assert float(hardest_mean(values, mask, 1.0)) == pytest.approx(float(values.mean()), rel=0.01)
    assert float(hardest_mean(values, mask, 0.1)) == pytest.approx(float(values.flatten()[-410:].mean()), rel=0.05)
    mask[:, 32:] = False
    assert float(hardest_mean(values, mask, 0.1)) < 64 * 32
    assert float(hardest_mean(values, torch.zeros_like(mask), 0.1)) == 0


def test_weights_count_where_the_mask_is_alone() -> None:
    values, weights = torch.tensor([1.0, 3.0, 100.0]), torch.tensor([3.0, 1.0, 50.0])
    assert float(mean_where(values, torch.tensor([True, True, False]), weights)) == 1.5
    assert float(mean_where(values, torch.zeros(3, dtype=torch.bool), weights)) == 0
