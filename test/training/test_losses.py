# SPDX-License-Identifier: Apache-2.0
"""The losses against float64 references, their gradients, margins and weights, and batches that lack something."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp, softmax
from torch import Tensor

from densehybrid_ros.training import losses
from densehybrid_ros.training.losses import INLIER, NEITHER, OUTLIER, hardest_mean, inlier_likelihood, margin_loss

K = 5
MARGINS = {"beta": 0.2, "floor": -1.0, "ceiling": 3.0, "posterior_weight": 0.5, "hard_share": 0.0}
WHOLE = {
    "paper": partial(losses.compound_loss, beta=0.5, floor=-3.0),
    "authors": partial(losses.authors_loss, beta=0.5),
    "margins": partial(margin_loss, **MARGINS),
    "margins, hardest": partial(margin_loss, **{**MARGINS, "hard_share": 0.3}),
}
Batch = dict[str, Tensor]


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(9)
    labels = torch.randint(0, K, (2, 6, 8), generator=generator)
    origin = torch.zeros_like(labels)
    labels[:, 1:3, 2:6], origin[:, 1:3, 2:6] = 255, OUTLIER
    labels[:, 5], origin[:, 5] = 255, NEITHER
    return {
        "logits": 3 * torch.randn(2, K, 6, 8, generator=generator, dtype=torch.float64),
        "posterior": 3 * torch.randn(2, 2, 6, 8, generator=generator, dtype=torch.float64),
        "labels": labels.to(torch.uint8),
        "origin": origin.to(torch.uint8),
    }


@pytest.fixture
def weights() -> Tensor:
    return torch.rand(2, 6, 8, generator=torch.Generator().manual_seed(4), dtype=torch.float64) + 0.2


def pixels(batch: Batch, kind: int) -> list[tuple[np.ndarray, np.ndarray, int, tuple[int, ...]]]:
    """(logits, posterior, label, place) of every pixel of a kind."""
    s, d, y, o = (batch[key].numpy() for key in ("logits", "posterior", "labels", "origin"))
    return [(s[b, :, i, j], d[b, :, i, j], int(y[b, i, j]), (b, i, j)) for b, i, j in np.argwhere(o == kind)]


def test_each_loss_is_its_equation(batch: Batch, weights: Tensor) -> None:
    inside, outside = pixels(batch, INLIER), pixels(batch, OUTLIER)
    closed = np.mean([-log_softmax(s)[y] for s, _, y, _ in inside])
    inlier = np.mean([-log_softmax(d)[0] for _, d, _, _ in inside])
    outlier = np.mean([-log_softmax(d)[1] for _, d, _, _ in outside])
    likelihood = np.mean([logsumexp(s) for s, *_ in outside])
    assert float(losses.closed_set_loss(batch["logits"], batch["labels"])) == pytest.approx(closed)
    terms = losses.posterior_loss(batch["posterior"], batch["origin"])
    assert (float(terms.inlier), float(terms.outlier)) == pytest.approx((inlier, outlier))
    assert float(losses.outlier_likelihood(batch["logits"], batch["origin"])) == pytest.approx(likelihood)

    expected = closed + inlier + 0.07 * (outlier + likelihood)  # equation (17)
    assert float(losses.compound_loss(**batch, beta=0.07)["loss"]) == pytest.approx(expected)
    pooled = np.average([inlier, outlier], weights=[len(inside), len(outside)])  # over all pixels
    expected = closed + 0.03 * likelihood + 0.3 * pooled
    assert float(losses.authors_loss(**batch, beta=0.03)["loss"]) == pytest.approx(expected)

    share = np.array([float(weights[place]) for *_, place in outside])
    outlier = np.average([-log_softmax(d)[1] for _, d, _, _ in outside], weights=share)
    below = np.average([max(-1.0, logsumexp(s)) for s, *_ in outside], weights=share)
    above = np.mean([max(0.0, 3.0 - logsumexp(s)) for s, *_ in inside])
    made = margin_loss(**batch, **MARGINS, weights=weights)
    assert float(made["loss"]) == pytest.approx(closed + 0.5 * (inlier + outlier) + 0.2 * (below + above))
    assert float(made["inlier_likelihood"]) == pytest.approx(above)


@pytest.mark.parametrize("name", WHOLE)
def test_gradcheck(batch: Batch, weights: Tensor, name: str) -> None:
    more = {"weights": weights} if "margins" in name else {}

    def loss(logits: Tensor, posterior: Tensor) -> Tensor:
        return WHOLE[name](logits, posterior, batch["labels"], batch["origin"], **more)["loss"]

    assert torch.autograd.gradcheck(loss, [batch["logits"].requires_grad_(), batch["posterior"].requires_grad_()])


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("lacking", ["negatives", "labels", "everything"])
def test_a_batch_that_lacks_something_trains_on(batch: Batch, name: str, lacking: str) -> None:
    if lacking in ("negatives", "everything"):
        batch["origin"][batch["origin"] == OUTLIER] = NEITHER
    if lacking in ("labels", "everything"):
        batch["labels"][:] = 255
        batch["origin"][batch["origin"] == INLIER] = NEITHER
    heads = [batch[key].float().requires_grad_() for key in ("logits", "posterior")]
    loss = WHOLE[name](*heads, batch["labels"], batch["origin"])["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    for tensor in heads:
        assert torch.isfinite(tensor.grad).all()
        if lacking == "everything":
            assert not tensor.grad.any()


def test_beyond_its_margins_the_likelihood_is_left_alone(batch: Batch) -> None:
    logits, origin = batch["logits"], batch["origin"]
    assert float(inlier_likelihood(logits + 100, origin, 3.0)) == 0
    for floor, shift, pushed in ((-100.0, 0, True), (-50.0, -100, False)):
        values = (logits + shift).requires_grad_()
        losses.outlier_likelihood(values, origin, floor).backward()
        assert bool(values.grad.any()) == pushed


def test_the_hardest_are_the_largest_and_make_up_half(batch: Batch) -> None:
    values = torch.arange(64 * 64, dtype=torch.float32).view(1, 64, 64)
    mask = torch.ones_like(values, dtype=torch.bool)
    assert float(hardest_mean(values, mask, 1.0)) == pytest.approx(float(values.mean()), rel=0.01)
    assert float(hardest_mean(values, mask, 0.1)) == pytest.approx(float(values.flatten()[-410:].mean()), rel=0.05)
    mask[:, 32:] = False
    assert float(hardest_mean(values, mask, 0.1)) < 64 * 32
    assert float(hardest_mean(values, torch.zeros_like(mask), 0.1)) == 0

    logits, origin = batch["logits"], batch["origin"]
    hardest = hardest_mean((9.0 - logits.logsumexp(1)).clamp(min=0), origin == INLIER, 0.3)
    mean = inlier_likelihood(logits, origin, 9.0)
    assert float(hardest) > float(mean)
    assert float(inlier_likelihood(logits, origin, 9.0, 0.3)) == pytest.approx(float(mean + hardest) / 2)


def test_weights_count_where_the_mask_is_alone() -> None:
    values, weights = torch.tensor([1.0, 3.0, 100.0]), torch.tensor([3.0, 1.0, 50.0])
    assert float(losses.mean_where(values, torch.tensor([True, True, False]), weights)) == 1.5
    assert float(losses.mean_where(values, torch.zeros(3, dtype=torch.bool), weights)) == 0


def test_distillation_and_divergence(batch: Batch) -> None:
    logits, origin = batch["logits"], batch["origin"]
    teacher, mask = logits.flip(1), origin == OUTLIER
    student, taught = (part.permute(0, 2, 3, 1)[~mask].numpy() for part in (logits, teacher))
    change = log_softmax(taught, axis=1) - log_softmax(student, axis=1)
    expected = (softmax(taught, axis=1) * change).sum(1).mean()
    assert float(losses.distillation_loss(logits, teacher, origin)) == pytest.approx(expected)
    assert float(losses.distillation_loss(teacher, teacher, origin)) == pytest.approx(0, abs=1e-6)

    p = softmax(logits.permute(0, 2, 3, 1)[mask].numpy(), axis=1)
    m = (p + 1 / K) / 2
    expected = 0.5 * ((p * np.log(p / m)).sum(1) + (np.log(1 / K / m) / K).sum(1)).mean()
    assert float(losses.jensen_shannon_loss(logits, mask)) == pytest.approx(expected)
    assert float(losses.jensen_shannon_loss(torch.zeros_like(logits), mask)) == pytest.approx(0, abs=1e-6)
    sure = torch.zeros_like(logits)
    sure[:, 0] = 200.0
    assert float(losses.jensen_shannon_loss(sure, mask)) < np.log(2)

    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: losses.distillation_loss(s, teacher, origin), logits)
    assert torch.autograd.gradcheck(lambda s: losses.jensen_shannon_loss(s, mask), logits)
