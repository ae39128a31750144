# SPDX-License-Identifier: Apache-2.0
"""The baselines' losses against float64 references, their gradients, and the sign of the energy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp, softmax

from densehybrid_ros.training.baseline_losses import (
    distillation_loss,
    energy_loss,
    k_plus_1_loss,
    ood_head_loss,
    outlier_exposure_loss,
)
from densehybrid_ros.training.flow_losses import jensen_shannon_loss
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
    loss = outlier_exposure_loss(**without(batch, "posterior"), beta=0.5)["loss"]
    assert float(loss) == pytest.approx(classification(batch) + 0.5 * uniform, rel=1e-5)


def test_energy(batch) -> None:
    inlier = np.mean([max(0.0, -logsumexp(s) + 15) ** 2 for s, _, _ in pixels(batch, INLIER)])
    outlier = np.mean([max(0.0, -5 + logsumexp(s)) ** 2 for s, _, _ in pixels(batch, OUTLIER)])
    assert inlier > 0
    assert outlier > 0
    loss = energy_loss(**without(batch, "posterior"), beta=0.1)["loss"]
    assert float(loss) == pytest.approx(classification(batch) + 0.1 * (inlier + outlier), rel=1e-5)


def test_the_energy_is_low_on_inliers(batch) -> None:
    """Inliers with a log-sum-exp of 20 and outliers with one of 0 cost nothing; the other way round they do."""
    logits = torch.zeros_like(batch["logits"])
    settings = {"labels": batch["labels"], "origin": batch["origin"]}
    is_outlier = (batch["origin"] == OUTLIER).unsqueeze(1)
    first = torch.tensor([20.0] + (K - 1) * [0.0]).view(1, K, 1, 1).expand_as(logits)
    right = energy_loss(torch.where(is_outlier, logits, first), **settings, beta=1)
    wrong = energy_loss(torch.where(is_outlier, first, logits), **settings, beta=1)
    assert float(right["inlier_energy"] + right["outlier_energy"]) == 0
    assert min(float(wrong["inlier_energy"]), float(wrong["outlier_energy"])) > 100


def test_k_plus_1(batch) -> None:
    known = np.mean([-log_softmax(np.append(s, d[1]))[y] for s, d, y in pixels(batch, INLIER)])
    unknown = np.mean([-log_softmax(np.append(s, d[1]))[K] for s, d, _ in pixels(batch, OUTLIER)])
    assert float(k_plus_1_loss(**batch, beta=0.3)["loss"]) == pytest.approx(known + 0.3 * unknown, rel=1e-5)


def test_distillation(batch) -> None:
    teacher = batch["logits"].flip(1)
    expected = []
    t, s = teacher.double().numpy(), batch["logits"].double().numpy()
    for b, i, j in np.argwhere(batch["origin"].numpy() != OUTLIER):
        p = softmax(t[b, :, i, j])
        expected.append((p * (log_softmax(t[b, :, i, j]) - log_softmax(s[b, :, i, j]))).sum())
    loss = distillation_loss(batch["logits"], teacher, batch["origin"])
    assert float(loss) == pytest.approx(np.mean(expected), rel=1e-5)
    assert float(distillation_loss(teacher, teacher, batch["origin"])) == pytest.approx(0, abs=1e-6)


def test_jensen_shannon(batch) -> None:
    mask = batch["origin"] == OUTLIER
    expected = []
    for s, _, _ in pixels(batch, OUTLIER):
        p, u = softmax(s), np.full(K, 1 / K)
        m = (p + u) / 2
        expected.append(0.5 * ((p * np.log(p / m)).sum() + (u * np.log(u / m)).sum()))
    assert float(jensen_shannon_loss(batch["logits"], mask)) == pytest.approx(np.mean(expected), rel=1e-5)
    assert float(jensen_shannon_loss(torch.zeros_like(batch["logits"]), mask)) == pytest.approx(0, abs=1e-6)
    sure = torch.zeros_like(batch["logits"])
    sure[:, 0] = 200.0
    assert float(jensen_shannon_loss(sure, mask)) < np.log(2)


@pytest.mark.parametrize(
    "name", ["ood_head", "outlier_exposure", "energy", "k_plus_1", "distillation", "jensen_shannon"]
)
def test_gradcheck_in_float64(batch, name: str) -> None:
    labels, origin, mask = batch["labels"], batch["origin"], batch["origin"] == OUTLIER
    teacher = batch["logits"].double().flip(1)
    functions = {
        "ood_head": lambda s, d: ood_head_loss(s, d, labels, origin, 0.5)["loss"],
        "outlier_exposure": lambda s, d: outlier_exposure_loss(s, labels, origin, 0.5)["loss"],
        "energy": lambda s, d: energy_loss(s, labels, origin, 0.1)["loss"],
        "k_plus_1": lambda s, d: k_plus_1_loss(s, d, labels, origin, 0.5)["loss"],
        "distillation": lambda s, d: distillation_loss(s, teacher, origin),
        "jensen_shannon": lambda s, d: jensen_shannon_loss(s, mask),
    }
    inputs = [(batch[key].double() / 3).requires_grad_() for key in ("logits", "posterior")]
    assert torch.autograd.gradcheck(functions[name], inputs)


@pytest.mark.parametrize("name", ["ood_head", "outlier_exposure", "energy", "k_plus_1"])
def test_a_batch_without_anything_trains_on(batch, name: str) -> None:
    batch["labels"][:], batch["origin"][:] = 255, NEITHER
    batch["logits"].requires_grad_()
    batch["posterior"].requires_grad_()
    plain = without(batch, "posterior")
    loss = {
        "ood_head": lambda: ood_head_loss(**batch, beta=0.5),
        "outlier_exposure": lambda: outlier_exposure_loss(**plain, beta=0.5),
        "energy": lambda: energy_loss(**plain, beta=0.1),
        "k_plus_1": lambda: k_plus_1_loss(**batch, beta=0.5),
    }[name]()["loss"]
    loss.backward()
    assert loss.item() == 0
    assert not batch["logits"].grad.any()
