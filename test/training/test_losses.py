# SPDX-License-Identifier: Apache-2.0
"""The losses against float64 references, their gradients, and batches that lack something."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp, softmax

from densehybrid_ros.training.losses import (
    INLIER,
    NEITHER,
    OPEN_SET_LOSSES,
    OUTLIER,
    authors_loss,
    closed_set_loss,
    compound_loss,
    distillation_loss,
    jensen_shannon_loss,
    outlier_likelihood,
    posterior_loss,
)

K = 5


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(9)
    labels = torch.randint(0, K, (2, 6, 8), generator=generator)
    origin = torch.zeros_like(labels)
    labels[:, 1:3, 2:6], origin[:, 1:3, 2:6] = 255, OUTLIER
    labels[:, 5], origin[:, 5] = 255, NEITHER
    return {
        "logits": 4 * torch.randn(2, K, 6, 8, generator=generator),
        "posterior": 4 * torch.randn(2, 2, 6, 8, generator=generator),
        "labels": labels.to(torch.uint8),
        "origin": origin.to(torch.uint8),
    }


def reference(batch: dict[str, torch.Tensor]) -> dict[str, float]:
    """The expectations of section 4 in float64, pixel by pixel."""
    s, d, y, o = (batch[key].numpy().astype(np.float64) for key in ("logits", "posterior", "labels", "origin"))
    terms: dict[str, list[float]] = {"cls": [], "own": [], "in": [], "out": [], "lse": []}
    for b, i, j in np.ndindex(*y.shape):
        if y[b, i, j] != 255:
            terms["cls"].append(-log_softmax(s[b, :, i, j])[int(y[b, i, j])])
            terms["own"].append(s[b, int(y[b, i, j]), i, j])
        if o[b, i, j] == INLIER:
            terms["in"].append(-log_softmax(d[b, :, i, j])[0])
        if o[b, i, j] == OUTLIER:
            terms["out"].append(-log_softmax(d[b, :, i, j])[1])
            terms["lse"].append(logsumexp(s[b, :, i, j]))
    counts = {f"n_{key}": len(values) for key, values in terms.items()}
    return {**{key: float(np.mean(values)) for key, values in terms.items()}, **counts}


def test_each_loss_equals_its_equation(batch) -> None:
    expected = reference(batch)
    terms = posterior_loss(batch["posterior"], batch["origin"])
    assert float(closed_set_loss(batch["logits"], batch["labels"])) == pytest.approx(expected["cls"], rel=1e-5)
    assert float(terms.inlier) == pytest.approx(expected["in"], rel=1e-5)
    assert float(terms.outlier) == pytest.approx(expected["out"], rel=1e-5)
    assert float(outlier_likelihood(batch["logits"], batch["origin"])) == pytest.approx(expected["lse"], rel=1e-5)


def test_the_compound_loss_is_equation_17(batch) -> None:
    expected = reference(batch)
    parts = compound_loss(**batch, beta=0.07)
    total = expected["cls"] + expected["in"] + 0.07 * (expected["out"] + expected["lse"])
    assert float(parts["loss"]) == pytest.approx(total, rel=1e-5)


def test_the_authors_weighting_pools_the_posterior_over_all_pixels(batch) -> None:
    expected = reference(batch)
    pooled = (expected["in"] * expected["n_in"] + expected["out"] * expected["n_out"]) / (
        expected["n_in"] + expected["n_out"]
    )
    total = expected["cls"] + 0.03 * expected["lse"] + 0.3 * pooled
    assert float(authors_loss(**batch, beta=0.03)["loss"]) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("weighting", sorted(OPEN_SET_LOSSES))
def test_gradients_agree_with_finite_differences(batch, weighting: str) -> None:
    loss = OPEN_SET_LOSSES[weighting]
    logits = batch["logits"].clone().requires_grad_()
    heads = batch["posterior"].clone().requires_grad_()
    loss(logits, heads, batch["labels"], batch["origin"], beta=0.5)["loss"].backward()
    generator = torch.Generator().manual_seed(2)
    for tensor, name in ((logits, "logits"), (heads, "posterior")):
        direction = torch.randn(tensor.shape, generator=generator)
        step = 1e-2
        values = [
            float(loss(**{**batch, name: batch[name] + sign * step * direction}, beta=0.5)["loss"].double())
            for sign in (1, -1)
        ]
        numeric = (values[0] - values[1]) / (2 * step)
        assert float((tensor.grad * direction).sum()) == pytest.approx(numeric, rel=2e-2, abs=2e-3)


@pytest.mark.parametrize("name", ["closed_set", "likelihood", "inlier", "outlier", *sorted(OPEN_SET_LOSSES)])
def test_gradcheck_in_float64(batch, name: str) -> None:
    labels, origin = batch["labels"], batch["origin"]
    functions = {
        "closed_set": lambda s, d: closed_set_loss(s, labels),
        "likelihood": lambda s, d: outlier_likelihood(s, origin),
        "inlier": lambda s, d: posterior_loss(d, origin).inlier,
        "outlier": lambda s, d: posterior_loss(d, origin).outlier,
        "paper": lambda s, d: compound_loss(s, d, labels, origin, 0.5, floor=-3.0)["loss"],
        "authors": lambda s, d: authors_loss(s, d, labels, origin, 0.5)["loss"],
    }
    inputs = [batch[key].double().requires_grad_() for key in ("logits", "posterior")]
    assert torch.autograd.gradcheck(functions[name], inputs)


@pytest.mark.parametrize("weighting", sorted(OPEN_SET_LOSSES))
@pytest.mark.parametrize("lacking", ["negatives", "labels", "everything"])
def test_a_batch_that_lacks_something_trains_on(batch, weighting: str, lacking: str) -> None:
    if lacking in ("negatives", "everything"):
        batch["origin"][batch["origin"] == OUTLIER] = NEITHER
    if lacking in ("labels", "everything"):
        batch["labels"][:] = 255
        batch["origin"][batch["origin"] == INLIER] = NEITHER
    batch["logits"].requires_grad_()
    batch["posterior"].requires_grad_()
    loss = OPEN_SET_LOSSES[weighting](**batch, beta=0.03)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    for tensor in (batch["logits"], batch["posterior"]):
        assert torch.isfinite(tensor.grad).all()
        if lacking == "everything":
            assert not tensor.grad.any()


def test_the_floor_stops_the_push_on_negatives(batch) -> None:
    logits = batch["logits"].clone().requires_grad_()
    floor = float(batch["logits"].logsumexp(1).min()) - 1
    outlier_likelihood(logits, batch["origin"], floor).backward()
    assert logits.grad.any()
    low = (batch["logits"] - 100).requires_grad_()
    outlier_likelihood(low, batch["origin"], floor=-50.0).backward()
    assert not low.grad.any()


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
    for s in batch["logits"].double().permute(0, 2, 3, 1)[mask].numpy():
        p, u = softmax(s), np.full(K, 1 / K)
        m = (p + u) / 2
        expected.append(0.5 * ((p * np.log(p / m)).sum() + (u * np.log(u / m)).sum()))
    assert float(jensen_shannon_loss(batch["logits"], mask)) == pytest.approx(np.mean(expected), rel=1e-5)
    assert float(jensen_shannon_loss(torch.zeros_like(batch["logits"]), mask)) == pytest.approx(0, abs=1e-6)
    sure = torch.zeros_like(batch["logits"])
    sure[:, 0] = 200.0
    assert float(jensen_shannon_loss(sure, mask)) < np.log(2)


def test_distillation_and_divergence_pass_gradcheck_in_float64(batch) -> None:
    logits, teacher = (batch["logits"].double() / 3).requires_grad_(), batch["logits"].double().flip(1)
    assert torch.autograd.gradcheck(lambda s: distillation_loss(s, teacher, batch["origin"]), logits)
    assert torch.autograd.gradcheck(lambda s: jensen_shannon_loss(s, batch["origin"] == OUTLIER), logits)
