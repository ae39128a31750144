# SPDX-License-Identifier: Apache-2.0
"""Scores that need the model: each against a reference, or against what it must do on data made for it."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.look import Observation, observe
from densehybrid_ros.networks import DenseHybrid, SegmentationNetwork, build_network
from densehybrid_ros.research.densities import PointwiseFlow, fit_flow, fit_mixture, gaussian_discriminant
from densehybrid_ros.research.model_score import (
    TrainingPixels,
    classifier_features,
    logits_of_features,
    training_pixels,
)
from densehybrid_ros.research.model_scores import (
    FITTED_SCORES,
    MODEL_SCORES,
    exceeded,
    mc_dropout,
    odin,
    react,
    weibull_tails,
)
from densehybrid_ros.scores import SCORES

K = 5
FITTED = {name: partial(fit, steps=20) if "flow" in name else fit for name, fit in FITTED_SCORES.items()}


@pytest.fixture(scope="module")
def model() -> DenseHybrid:
    torch.manual_seed(0)
    return DenseHybrid(build_network("light", K)).eval()


@pytest.fixture(scope="module")
def seen(model: DenseHybrid) -> Observation:
    with torch.no_grad():
        return observe(model, torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1)))


@pytest.fixture(scope="module")
def pixels(model: DenseHybrid) -> TrainingPixels:
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(4, 3, 64, 96, generator=generator)
    labels = torch.randint(0, K, (4, 64, 96), generator=generator, dtype=torch.uint8)
    labels[:, :8] = 255
    with torch.no_grad():
        return training_pixels(observe(model, images), labels, 1000, seed=0)


@pytest.mark.parametrize("name", sorted(MODEL_SCORES | FITTED))
def test_every_score_has_a_value_for_every_position(name: str, seen: Observation, pixels: TrainingPixels) -> None:
    score = MODEL_SCORES[name] if name in MODEL_SCORES else FITTED[name](pixels)
    with torch.inference_mode():
        values, again = score(seen), score(seen)
    assert (values.shape, values.dtype) == ((2, 16, 24), torch.float32)
    assert bool(values.isfinite().all())
    assert torch.equal(values, again)
    assert values.std() > 0


def test_training_pixels_leave_out_void_and_lead_back_to_the_logits(
    model: DenseHybrid, pixels: TrainingPixels, seen: Observation
) -> None:
    assert len(pixels.labels) == 1000
    assert int(pixels.labels.max()) < K
    assert pixels.features.shape == (1000, model.network.prelogit_channels)
    rows = pixels.features[:, :, None, None]
    with torch.no_grad():
        torch.testing.assert_close(logits_of_features(model, rows)[:, :, 0, 0], pixels.logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(logits_of_features(model, classifier_features(model, seen.prelogits)), seen.logits)


def test_sml_standardises_each_predicted_class(seen: Observation, pixels: TrainingPixels) -> None:
    largest, predicted = (item.numpy() for item in pixels.logits.max(dim=1))
    values, classes = (item.numpy() for item in seen.logits.max(dim=1))
    expected = np.zeros_like(values)
    for index in range(K):
        own = largest[predicted == index]
        mean, deviation = (own.mean(), own.std(ddof=1)) if len(own) > 1 else (largest.mean(), largest.std(ddof=1))
        expected[classes == index] = -(values[classes == index] - mean) / max(deviation, 1e-3)
    np.testing.assert_allclose(FITTED["sml"](pixels)(seen).numpy(), expected, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_react_clips_at_the_quantile(seen: Observation, pixels: TrainingPixels) -> None:
    limit = torch.quantile(pixels.features, 0.9)
    features = classifier_features(seen.model, seen.prelogits).clamp(max=limit)
    expected = -logits_of_features(seen.model, features).logsumexp(1)
    torch.testing.assert_close(react(pixels, quantile=0.9)(seen), expected, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(expected, SCORES["energy"](seen.logits, seen.posterior))


def test_odin_is_max_softmax_apart_at_high_temperatures_and_surer_by_its_step(seen: Observation) -> None:
    plain = odin(seen, temperature=1.0, step=0.0)
    expected = SCORES["max_softmax"](seen.logits, seen.posterior)
    torch.testing.assert_close(-1 / (K + plain), expected, rtol=1e-4, atol=1e-5)
    hot, warm = (odin(seen, temperature, 0.0).flatten() for temperature in (1000.0, 10.0))
    assert len(torch.unique(hot)) > 0.95 * len(torch.unique(warm))
    with torch.inference_mode():  # as the evaluation calls it
        assert odin(seen).mean() < hot.mean()


def test_dropping_nothing_gives_the_entropy(seen: Observation) -> None:
    with torch.no_grad():
        expected = SCORES["entropy"](seen.logits, seen.posterior)
        torch.testing.assert_close(mc_dropout(seen, probability=0.0), expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(mc_dropout(seen), expected, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def gaussians() -> TrainingPixels:
    """Three classes, each a Gaussian with its own mean and one correlated covariance; all features are positive."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((6, 6))
    means = 8 * rng.standard_normal((3, 6))
    labels = rng.integers(0, 3, 4000)
    features = means[labels] + rng.standard_normal((4000, 6)) @ mixing.T
    logits = -((features[:, None] - means[None]) ** 2).sum(axis=2)
    features += 50 - features.min()
    return TrainingPixels(
        torch.from_numpy(features).float(), torch.from_numpy(logits).float(), torch.from_numpy(labels).long()
    )


def unlabelled(features: np.ndarray) -> TrainingPixels:
    count = len(features)
    return TrainingPixels(torch.from_numpy(features).float(), torch.zeros(count, 3), torch.zeros(count).long())


def observe_features(features: torch.Tensor) -> Observation:
    """An observation whose (positive) features are ``features`` [N, C]; its classifier hands them through."""
    model = DenseHybrid.__new__(DenseHybrid)
    torch.nn.Module.__init__(model)
    model.network = SegmentationNetwork()
    model.network.classifier = torch.nn.ModuleDict({"norm": torch.nn.Identity(), "conv": torch.nn.Identity()})
    maps = features.T[None, :, :, None]
    return Observation(model, torch.zeros(1, 3, 1, 1), maps, maps, torch.zeros(1, 2, len(features), 1))


def test_gaussian_discriminant_is_the_mahalanobis_distance(gaussians: TrainingPixels) -> None:
    features, labels = gaussians.features.double().numpy(), gaussians.labels.numpy()
    means = np.stack([features[labels == index].mean(axis=0) for index in range(3)])
    centred = features - means[labels]
    precision = np.linalg.inv(centred.T @ centred / len(features))
    offsets = features[:50, None] - means[None]
    expected = np.einsum("nkc,cd,nkd->nk", offsets, precision, offsets).min(axis=1)
    got = gaussian_discriminant(gaussians)(observe_features(gaussians.features[:50])).flatten().numpy()
    np.testing.assert_allclose(got, expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("gdm", " for 6 features"), ("gmm", " for 32 components"), ("flow", "; at least 256 are needed")],
)
def test_too_few_pixels_are_named(name: str, reason: str) -> None:
    with pytest.raises(InputError, match=f"^{name}: 5 training pixels are too few{reason}$"):
        FITTED[name](unlabelled(np.random.default_rng(0).random((5, 6))))


def test_mixture_finds_the_density_of_what_it_was_fitted_to() -> None:
    rng = np.random.default_rng(1)
    centres = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
    features = centres[rng.integers(0, 3, 6000)] + rng.standard_normal((6000, 2)) * [1.0, 0.5]
    mixture = fit_mixture(unlabelled(features), components=3, iterations=60, seed=4)
    truth = np.mean([stats.multivariate_normal(c, np.diag([1.0, 0.25])).pdf(features[:500]) for c in centres], axis=0)
    got = mixture.log_density(torch.from_numpy(features[:500]).float()).numpy()
    np.testing.assert_allclose(got, np.log(truth), atol=0.25)


def test_flow_is_normalised_and_beats_one_gaussian() -> None:
    rng = np.random.default_rng(2)
    angle = rng.uniform(0, 2 * np.pi, 4000)  # a ring
    features = np.stack((3 * np.cos(angle), 3 * np.sin(angle)), axis=1) + 0.2 * rng.standard_normal((4000, 2))
    flow = fit_flow(unlabelled(features), steps=250, batch=512, rate=3e-3)
    axis = torch.linspace(-8, 8, 161)
    mass = flow.log_density(torch.cartesian_prod(axis, axis)).exp().sum().item() * 0.1**2
    assert mass == pytest.approx(1.0, abs=0.02)
    gaussian = stats.multivariate_normal(features.mean(axis=0), np.cov(features.T)).logpdf(features).mean()
    assert flow.log_density(torch.from_numpy(features).float()).mean().item() > gaussian + 0.3


def test_flow_s_log_determinant_is_that_of_its_jacobian() -> None:
    torch.manual_seed(0)
    flow = PointwiseFlow(5, layers=3, hidden=16).double()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    value = torch.randn(5, dtype=torch.double)

    def latent(x: torch.Tensor) -> torch.Tensor:
        x = x[None]
        for coupling in flow.couplings:
            x, _ = coupling(x)
        return x[0]

    z = latent(value)
    jacobian = torch.autograd.functional.jacobian(latent, value)
    expected = -0.5 * (z**2).sum() - 2.5 * math.log(2 * math.pi) + torch.linalg.slogdet(jacobian).logabsdet
    torch.testing.assert_close(flow.log_density(value[None])[0], expected)


def test_flow_hybrid_adds_the_posterior(seen: Observation, pixels: TrainingPixels) -> None:
    expected = FITTED["flow"](pixels)(seen) + SCORES["posterior"](seen.logits, seen.posterior)
    torch.testing.assert_close(FITTED["flow_hybrid"](pixels)(seen), expected)


@pytest.mark.parametrize("name", ["gdm", "gmm", "flow", "openmax", "sml"])
def test_far_away_features_are_anomalous(name: str, gaussians: TrainingPixels) -> None:
    inlier = gaussians.features[:200]
    far = inlier + 40 * torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    means = torch.stack([gaussians.features[gaussians.labels == index].mean(dim=0) for index in range(3)])

    def logits(features: torch.Tensor) -> torch.Tensor:
        """They fall with the distance to the classes, which is what some scores look at."""
        return 10 - torch.cdist(features, means) ** 2 / 100

    both = torch.cat((inlier, far))
    observation = observe_features(both)._replace(logits=logits(both).T[None, :, :, None])
    score = FITTED[name](gaussians._replace(logits=logits(gaussians.features)))
    values = score(observation).flatten().numpy()
    assert roc_auc_score(np.repeat([0, 1], 200), values) > 0.95


def test_openmax_tail_is_that_of_scipy(gaussians: TrainingPixels) -> None:
    means, tails = weibull_tails(gaussians, tail=0.1)
    own = gaussians.logits[(gaussians.logits.argmax(dim=1) == gaussians.labels) & (gaussians.labels == 1)]
    torch.testing.assert_close(means[1], own.mean(dim=0))
    distance = (own - own.mean(dim=0)).norm(dim=1)
    got = exceeded(distance, tails[1].expand(len(own), 3)).numpy()
    expected = stats.weibull_min.cdf(distance.double().numpy(), *tails[1].double().numpy())
    np.testing.assert_allclose(got, expected, atol=1e-4)
