# SPDX-License-Identifier: Apache-2.0
"""The baselines' scores and losses against float64 references, gradients, and the sign of the energy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import log_softmax, logsumexp, softmax
from tiny import colored_store, settings, trainer

from densehybrid_ros.research.baselines import BASELINE_LOSSES, energy_loss
from densehybrid_ros.scores import SCORES
from densehybrid_ros.training.batches import CropTask
from densehybrid_ros.training.config import LossConfig, NegativesConfig
from densehybrid_ros.training.losses import INLIER, NEITHER, OUTLIER

K = 4


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    labels = torch.randint(0, K, (2, 5, 6), generator=generator)
    origin = torch.full_like(labels, INLIER)
    labels[:, 1:3, 2:5], origin[:, 1:3, 2:5] = 255, OUTLIER
    labels[:, 4], origin[:, 4] = 255, NEITHER
    return {
        "logits": 6 * torch.randn(2, K, 5, 6, generator=generator),
        "posterior": 3 * torch.randn(2, 2, 5, 6, generator=generator),
        "labels": labels,
        "origin": origin,
    }


def test_scores_equal_their_definitions(batch: dict[str, torch.Tensor]) -> None:
    logits, posterior = batch["logits"], batch["posterior"]
    class_probability = softmax(logits.double().numpy(), axis=1)
    in_out = softmax(posterior.double().numpy(), axis=1)
    expected = {
        "entropy": stats.entropy(class_probability, axis=1),
        "energy": SCORES["likelihood"](logits, posterior).numpy(),
        "oh": in_out[:, 1],
        "oh_msp": -in_out[:, 0] * class_probability.max(axis=1),
        "k_plus_1": log_softmax(np.concatenate([logits, posterior[:, 1:]], axis=1).astype(float), axis=1)[:, -1],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(SCORES[name](logits, posterior).numpy(), values, rtol=1e-5, atol=1e-6)
    certain = torch.tensor([1000.0, 0.0, -1000.0]).view(1, 3, 1, 1)
    assert SCORES["entropy"](certain, posterior).item() == 0.0


def pixels(batch: dict[str, torch.Tensor], kind: int) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """(logits, posterior, label) of every pixel of a kind, float64."""
    s, d = (batch[key].double().numpy() for key in ("logits", "posterior"))
    where = np.argwhere(batch["origin"].numpy() == kind)
    return [(s[b, :, i, j], d[b, :, i, j], int(batch["labels"][b, i, j])) for b, i, j in where]


def test_losses_equal_their_equations(batch: dict[str, torch.Tensor]) -> None:
    inside, outside = pixels(batch, INLIER), pixels(batch, OUTLIER)
    closed = np.mean([-log_softmax(s)[y] for s, _, y in inside])
    head_in = np.mean([-log_softmax(d)[0] for _, d, _ in inside])
    head_out = np.mean([-log_softmax(d)[1] for _, d, _ in outside])
    undecided = np.mean([-log_softmax(s).mean() for s, _, _ in outside])
    energy_in = np.mean([max(0.0, -logsumexp(s) + 15) ** 2 for s, _, _ in inside])
    energy_out = np.mean([max(0.0, -5 + logsumexp(s)) ** 2 for s, _, _ in outside])
    known = np.mean([-log_softmax(np.append(s, d[1]))[y] for s, d, y in inside])
    unknown = np.mean([-log_softmax(np.append(s, d[1]))[K] for s, d, _ in outside])
    expected = {
        "ood_head": closed + head_in + 0.5 * head_out,
        "outlier_exposure": closed + 0.5 * undecided,
        "energy": closed + 0.5 * (energy_in + energy_out),
        "k_plus_1": known + 0.5 * unknown,
    }
    assert expected.keys() == BASELINE_LOSSES.keys()
    for name, value in expected.items():
        assert float(BASELINE_LOSSES[name].loss(*batch.values(), 0.5)["loss"]) == pytest.approx(value, rel=1e-5)


def test_the_energy_is_low_on_inliers(batch: dict[str, torch.Tensor]) -> None:
    """Inliers with a log-sum-exp of 20 and outliers with one of 0 cost nothing; the other way round they do."""
    logits, *others = batch.values()
    logits = torch.zeros_like(logits)
    is_outlier = (batch["origin"] == OUTLIER).unsqueeze(1)
    first = torch.tensor([20.0] + (K - 1) * [0.0]).view(1, K, 1, 1).expand_as(logits)
    right = energy_loss(torch.where(is_outlier, logits, first), *others, beta=1)
    wrong = energy_loss(torch.where(is_outlier, first, logits), *others, beta=1)
    assert float(right["inlier_energy"] + right["outlier_energy"]) == 0
    assert min(float(wrong["inlier_energy"]), float(wrong["outlier_energy"])) > 100


@pytest.mark.parametrize("name", BASELINE_LOSSES)
def test_gradients_are_right_reach_the_head_as_the_table_says_and_vanish_where_nothing_is(
    batch: dict[str, torch.Tensor], name: str
) -> None:
    loss, uses_posterior = BASELINE_LOSSES[name]
    logits, posterior = (batch[key].double().div(3).requires_grad_() for key in ("logits", "posterior"))
    labels, origin = batch["labels"], batch["origin"]
    assert torch.autograd.gradcheck(lambda s, d: loss(s, d, labels, origin, 0.5)["loss"], [logits, posterior])
    loss(logits, posterior, labels, origin, 0.5)["loss"].backward()
    assert uses_posterior == (posterior.grad is not None)
    logits.grad = None
    empty = loss(logits, posterior, torch.full_like(labels, 255), torch.full_like(origin, NEITHER), 0.5)["loss"]
    empty.backward()
    assert empty.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("kind", BASELINE_LOSSES)
def test_every_baseline_trains(kind: str) -> None:
    source = "void" if kind == "k_plus_1" else "cutouts"
    store = colored_store()
    store.labels[:, :8] = 255
    loss = LossConfig(kind=kind, beta=0.5)
    run = trainer(
        settings(stage="open_set", steps=20, loss=loss, negatives=NegativesConfig(source=source)), None, store
    )
    batch = run.maker.batch(CropTask(1000, 0, 8))
    before = float(run.task.losses(batch)[1]["loss"].detach())
    run.run()
    assert float(run.task.losses(batch)[1]["loss"].detach()) < 0.9 * before
