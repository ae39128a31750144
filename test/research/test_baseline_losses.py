# SPDX-License-Identifier: Apache-2.0
"""The baselines' losses against float64 references, their gradients, and the sign of the energy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp
from tiny import colored_store, settings, trainer

from densehybrid_ros.research.losses import (
    BASELINE_LOSSES,
    energy_loss,
    k_plus_1_loss,
    ood_head_loss,
    outlier_exposure_loss,
)
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


def without(batch: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in batch.items() if key != name}


def pixels(batch: dict[str, torch.Tensor], kind: int) -> list[tuple[np.ndarray, np.ndarray, int]]:
    """(logits, posterior, label) of every pixel of a kind, float64."""
    s, d = (batch[key].double().numpy() for key in ("logits", "posterior"))
    where = np.argwhere(batch["origin"].numpy() == kind)
    return [(s[b, :, i, j], d[b, :, i, j], int(batch["labels"][b, i, j])) for b, i, j in where]


def classification(batch: dict[str, torch.Tensor]) -> float:
    return float(np.mean([-log_softmax(s)[y] for s, _, y in pixels(batch, INLIER)]))


def test_ood_head(batch) -> None:
    inlier = np.mean([-log_softmax(d)[0] for _, d, _ in pixels(batch, INLIER)])
    outlier = np.mean([-log_softmax(d)[1] for _, d, _ in pixels(batch, OUTLIER)])
    expected = classification(batch) + inlier + 0.7 * outlier
    assert float(ood_head_loss(**batch, beta=0.7)["loss"]) == pytest.approx(expected, rel=1e-5)


def test_outlier_exposure(batch) -> None:
    uniform = np.mean([-log_softmax(s).mean() for s, _, _ in pixels(batch, OUTLIER)])
    loss = outlier_exposure_loss(**batch, beta=0.5)["loss"]
    assert float(loss) == pytest.approx(classification(batch) + 0.5 * uniform, rel=1e-5)


def test_energy(batch) -> None:
    inlier = np.mean([max(0.0, -logsumexp(s) + 15) ** 2 for s, _, _ in pixels(batch, INLIER)])
    outlier = np.mean([max(0.0, -5 + logsumexp(s)) ** 2 for s, _, _ in pixels(batch, OUTLIER)])
    assert inlier > 0
    assert outlier > 0
    loss = energy_loss(**batch, beta=0.1)["loss"]
    assert float(loss) == pytest.approx(classification(batch) + 0.1 * (inlier + outlier), rel=1e-5)


def test_the_energy_is_low_on_inliers(batch) -> None:
    """Inliers with a log-sum-exp of 20 and outliers with one of 0 cost nothing; the other way round they do."""
    logits = torch.zeros_like(batch["logits"])
    others = without(batch, "logits")
    is_outlier = (batch["origin"] == OUTLIER).unsqueeze(1)
    first = torch.tensor([20.0] + (K - 1) * [0.0]).view(1, K, 1, 1).expand_as(logits)
    right = energy_loss(torch.where(is_outlier, logits, first), **others, beta=1)
    wrong = energy_loss(torch.where(is_outlier, first, logits), **others, beta=1)
    assert float(right["inlier_energy"] + right["outlier_energy"]) == 0
    assert min(float(wrong["inlier_energy"]), float(wrong["outlier_energy"])) > 100


def test_k_plus_1(batch) -> None:
    known = np.mean([-log_softmax(np.append(s, d[1]))[y] for s, d, y in pixels(batch, INLIER)])
    unknown = np.mean([-log_softmax(np.append(s, d[1]))[K] for s, d, _ in pixels(batch, OUTLIER)])
    assert float(k_plus_1_loss(**batch, beta=0.3)["loss"]) == pytest.approx(known + 0.3 * unknown, rel=1e-5)


@pytest.mark.parametrize("name", BASELINE_LOSSES)
def test_gradcheck_in_float64(batch, name: str) -> None:
    inputs = [(batch[key].double() / 3).requires_grad_() for key in ("logits", "posterior")]
    loss = BASELINE_LOSSES[name].loss
    assert torch.autograd.gradcheck(lambda s, d: loss(s, d, batch["labels"], batch["origin"], 0.5)["loss"], inputs)


@pytest.mark.parametrize("name", BASELINE_LOSSES)
def test_a_batch_without_anything_trains_on(batch, name: str) -> None:
    batch["labels"][:], batch["origin"][:] = 255, NEITHER
    batch["logits"].requires_grad_()
    batch["posterior"].requires_grad_()
    loss = BASELINE_LOSSES[name].loss(*batch.values(), 0.5)["loss"]
    loss.backward()
    assert loss.item() == 0
    assert not batch["logits"].grad.any()


@pytest.mark.parametrize("name", BASELINE_LOSSES)
def test_the_second_head_learns_where_the_table_says_so(batch, name: str) -> None:
    posterior = batch["posterior"].requires_grad_()
    loss = BASELINE_LOSSES[name].loss(
        batch["logits"].requires_grad_(), posterior, batch["labels"], batch["origin"], 0.5
    )
    loss["loss"].backward()
    assert BASELINE_LOSSES[name].uses_posterior == (posterior.grad is not None)


@pytest.mark.parametrize("kind", BASELINE_LOSSES)
def test_every_baseline_trains(kind: str) -> None:
    source = "void" if kind == "k_plus_1" else "cutouts"
    store = colored_store()
    store.labels[:, :8] = 255
    loss = LossConfig(kind=kind, beta=0.5)
    run = trainer(
        settings(stage="open_set", steps=40, loss=loss, negatives=NegativesConfig(source=source)), None, store
    )
    batch = run.maker.batch(CropTask(1000, 0, 16))
    before = float(run.task.losses(batch)[1]["loss"].detach())
    run.run()
    assert float(run.task.losses(batch)[1]["loss"].detach()) < 0.8 * before
