# SPDX-License-Identifier: Apache-2.0
"""Scores that need the model: each against a reference, or against what it must do on data made for it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.look import Observation, observe
from densehybrid_ros.networks import DenseHybrid, SegmentationNetwork, build_network
from densehybrid_ros.research.densities import FlowDensity, GaussianDiscriminant, GaussianMixture, PointwiseFlow
from densehybrid_ros.research.model_score import (
    TrainingPixels,
    classifier_features,
    logits_of_features,
    per_pixel,
    training_pixels,
)
from densehybrid_ros.research.model_scores import MODEL_SCORES, McDropout, Odin, OpenMax, ReAct, StandardizedMaxLogit
from densehybrid_ros.scores import SCORES

K = 5


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


def test_entropy_survives_certainty() -> None:
    logits = torch.tensor([1000.0, 0.0, -1000.0]).view(1, 3, 1, 1)
    assert SCORES["entropy"](logits, logits[:, :2]).item() == 0.0


@pytest.mark.parametrize("name", sorted(MODEL_SCORES))
def test_every_score_has_a_value_for_every_position(name: str, seen: Observation, pixels: TrainingPixels) -> None:
    score = MODEL_SCORES[name]()
    if isinstance(score, FlowDensity):
        score._steps = 20
    score.fit(pixels)
    with torch.inference_mode():
        values = score(seen)
        again = score(seen)
    assert values.shape == (2, 16, 24)
    assert values.dtype == torch.float32
    assert bool(values.isfinite().all())
    assert torch.equal(values, again)
    assert values.std() > 0


def test_features_lead_back_to_the_logits(seen: Observation) -> None:
    with torch.no_grad():
        features = classifier_features(seen.model, seen.prelogits)
        torch.testing.assert_close(logits_of_features(seen.model, features), seen.logits)


def test_training_pixels_leave_out_void_and_keep_their_labels(model: DenseHybrid, pixels: TrainingPixels) -> None:
    assert len(pixels.labels) == 1000
    assert int(pixels.labels.max()) < K
    assert pixels.features.shape == (1000, model.network.prelogit_channels)
    rows = pixels.features[:, :, None, None]
    with torch.no_grad():
        torch.testing.assert_close(logits_of_features(model, rows)[:, :, 0, 0], pixels.logits, rtol=1e-4, atol=1e-4)


def test_sml_standardises_each_predicted_class(seen: Observation, pixels: TrainingPixels) -> None:
    score = StandardizedMaxLogit()
    score.fit(pixels)
    largest, predicted = (item.numpy() for item in pixels.logits.max(dim=1))
    values, classes = (item.numpy() for item in seen.logits.max(dim=1))
    expected = np.zeros_like(values)
    for index in range(K):
        own = largest[predicted == index]
        mean, deviation = (own.mean(), own.std(ddof=1)) if len(own) > 1 else (largest.mean(), largest.std(ddof=1))
        expected[classes == index] = -(values[classes == index] - mean) / max(deviation, 1e-3)
    np.testing.assert_allclose(score(seen).numpy(), expected, rtol=1e-3, atol=1e-3)


def test_react_clips_at_the_quantile(seen: Observation, pixels: TrainingPixels) -> None:
    score = ReAct(quantile=0.9)
    score.fit(pixels)
    share = (pixels.features > score._limit).float().mean().item()
    assert share == pytest.approx(0.1, abs=0.002)
    with torch.no_grad():
        never = ReAct()  # without a limit it is the energy
        torch.testing.assert_close(never(seen), SCORES["energy"](seen.logits, seen.posterior), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(score(seen), never(seen))


def test_odin_with_no_step_and_unit_temperature_is_max_softmax(seen: Observation) -> None:
    plain = Odin(temperature=1.0, step=0.0)(seen)
    expected = SCORES["max_softmax"](seen.logits, seen.posterior)
    torch.testing.assert_close(-1 / (K + plain), expected, rtol=1e-4, atol=1e-5)


def test_odin_keeps_scores_apart_at_a_high_temperature(seen: Observation) -> None:
    hot, warm = Odin(step=0.0)(seen).flatten(), Odin(temperature=10.0, step=0.0)(seen).flatten()
    assert len(torch.unique(hot)) > 0.95 * len(torch.unique(warm))


def test_odin_s_step_raises_confidence(seen: Observation) -> None:
    with torch.inference_mode():  # as the evaluation calls it
        stepped, plain = Odin(step=0.0014)(seen), Odin(step=0.0)(seen)
    assert stepped.mean() < plain.mean()


def test_dropping_nothing_gives_the_entropy(seen: Observation) -> None:
    with torch.no_grad():
        expected = SCORES["entropy"](seen.logits, seen.posterior)
        torch.testing.assert_close(McDropout(probability=0.0)(seen), expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(McDropout()(seen), expected, rtol=0, atol=1e-6)


def _gaussian_pixels(count: int = 4000, channels: int = 6) -> TrainingPixels:
    """Three classes, each a Gaussian with its own mean and one correlated covariance."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((channels, channels))
    means = 8 * rng.standard_normal((3, channels))
    labels = rng.integers(0, 3, count)
    features = means[labels] + rng.standard_normal((count, channels)) @ mixing.T
    logits = -((features[:, None] - means[None]) ** 2).sum(axis=2)
    return TrainingPixels(
        torch.from_numpy(features).float(), torch.from_numpy(logits).float(), torch.from_numpy(labels).long()
    )


class _Identity(torch.nn.Module):
    """A classifier that hands its input through, so that scores see the features that the test made."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.Identity()
        self.conv = torch.nn.Identity()


def _observe_features(features: torch.Tensor) -> Observation:
    """An observation whose (positive) features are ``features`` [N, C]."""
    model = DenseHybrid.__new__(DenseHybrid)
    torch.nn.Module.__init__(model)
    model.network = SegmentationNetwork()
    model.network.classifier = _Identity()
    maps = features.T[None, :, :, None]
    return Observation(model, torch.zeros(1, 3, 1, 1), maps, maps, torch.zeros(1, 2, len(features), 1))


def _positive(pixels: TrainingPixels) -> TrainingPixels:
    return pixels._replace(features=pixels.features - pixels.features.min() + 50)


def test_gaussian_discriminant_is_the_mahalanobis_distance() -> None:
    pixels = _positive(_gaussian_pixels())
    score = GaussianDiscriminant()
    score.fit(pixels)
    features, labels = pixels.features.double().numpy(), pixels.labels.numpy()
    means = np.stack([features[labels == index].mean(axis=0) for index in range(3)])
    centred = features - means[labels]
    precision = np.linalg.inv(centred.T @ centred / len(features))
    offsets = features[:50, None] - means[None]
    expected = np.einsum("nkc,cd,nkd->nk", offsets, precision, offsets).min(axis=1)
    got = score(_observe_features(pixels.features[:50])).flatten().numpy()
    np.testing.assert_allclose(got, expected, rtol=0.02, atol=0.02)


def test_gaussian_discriminant_needs_enough_pixels() -> None:
    few = TrainingPixels(torch.rand(5, 6), torch.rand(5, 3), torch.zeros(5, dtype=torch.long))
    with pytest.raises(InputError, match="gdm: 5 training pixels are too few for 6 features"):
        GaussianDiscriminant().fit(few)


def test_mixture_finds_the_density_of_what_it_was_fitted_to() -> None:
    rng = np.random.default_rng(1)
    centres = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]])
    chosen = rng.integers(0, 3, 6000)
    features = centres[chosen] + rng.standard_normal((6000, 2)) * [1.0, 0.5]
    mixture = GaussianMixture(components=3, iterations=60, seed=4)
    mixture.fit(TrainingPixels(torch.from_numpy(features).float(), torch.zeros(6000, 3), torch.zeros(6000).long()))
    truth = np.mean([stats.multivariate_normal(c, np.diag([1.0, 0.25])).pdf(features[:500]) for c in centres], axis=0)
    got = mixture.log_density(torch.from_numpy(features[:500]).float()).numpy()
    np.testing.assert_allclose(got, np.log(truth), atol=0.25)


def test_flow_is_normalised_and_beats_one_gaussian() -> None:
    rng = np.random.default_rng(2)
    angle = rng.uniform(0, 2 * np.pi, 4000)  # a ring
    features = np.stack((3 * np.cos(angle), 3 * np.sin(angle)), axis=1) + 0.2 * rng.standard_normal((4000, 2))
    pixels = TrainingPixels(torch.from_numpy(features).float(), torch.zeros(4000, 3), torch.zeros(4000).long())
    score = FlowDensity(steps=250, batch=512, rate=3e-3)
    score.fit(pixels)
    assert score.flow is not None
    axis = torch.linspace(-8, 8, 161)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        mass = score.flow.log_density(grid).exp().sum().item() * 0.1**2
        mean = score.flow.log_density(pixels.features).mean().item()
    assert mass == pytest.approx(1.0, abs=0.02)
    gaussian = stats.multivariate_normal(features.mean(axis=0), np.cov(features.T)).logpdf(features).mean()
    assert mean > gaussian + 0.3


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
    plain, with_posterior = FlowDensity(steps=5), FlowDensity(steps=5, hybrid=True)
    for score in (plain, with_posterior):
        score.fit(pixels)
    expected = plain(seen) + SCORES["posterior"](seen.logits, seen.posterior)
    torch.testing.assert_close(with_posterior(seen), expected)


def test_flow_without_fit_says_so(seen: Observation) -> None:
    with pytest.raises(InputError, match="must be fitted"):
        FlowDensity()(seen)


@pytest.mark.parametrize("name", ["gdm", "gmm", "flow", "openmax", "sml"])
def test_far_away_features_are_anomalous(name: str) -> None:
    pixels = _positive(_gaussian_pixels())
    pixels = pixels._replace(logits=10 + pixels.logits / 100)
    score = MODEL_SCORES[name]()
    if isinstance(score, FlowDensity):
        score._steps = 60
    score.fit(pixels)
    inlier = pixels.features[:200]
    far = inlier + 40 * torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    observation = _observe_features(torch.cat((inlier, far)))
    if name in ("openmax", "sml"):  # these look at logits: make them fall with the distance to the classes
        means = torch.stack([pixels.features[pixels.labels == index].mean(dim=0) for index in range(3)])
        distance = torch.cdist(torch.cat((inlier, far)), means) ** 2
        observation = observation._replace(logits=(10 - distance / 100).T[None, :, :, None])
        score.fit(pixels._replace(logits=10 - torch.cdist(pixels.features, means) ** 2 / 100))
    with torch.no_grad():
        values = score(observation).flatten().numpy()
    assert roc_auc_score(np.repeat([0, 1], 200), values) > 0.95


def test_openmax_tail_is_that_of_scipy() -> None:
    pixels = _gaussian_pixels()
    score = OpenMax(tail=0.1)
    score.fit(pixels)
    own = pixels.logits[(pixels.logits.argmax(dim=1) == pixels.labels) & (pixels.labels == 1)]
    distance = (own - own.mean(dim=0)).norm(dim=1)
    got = score._exceeded(distance, torch.ones(len(own), dtype=torch.long)).numpy()
    expected = stats.weibull_min.cdf(distance.double().numpy(), *score._weibull[1])
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_rows_return_to_their_places() -> None:
    maps = torch.arange(24.0).view(1, 2, 3, 4)
    rows, shape = per_pixel(maps)
    torch.testing.assert_close(rows[:, 1].view(shape), maps[:, 1])
