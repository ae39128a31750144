# SPDX-License-Identifier: Apache-2.0
"""The five basic scores against float64 references, and the properties that the paper claims."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp, softmax

from densehybrid_ros.networks import DenseHybrid, SegmentationNetwork, upsample
from densehybrid_ros.scores import SCORES, hybrid, posterior


@pytest.fixture
def heads() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    logits = 8 * torch.randn(2, 19, 6, 7, generator=generator)
    return logits, 8 * torch.randn(2, 2, 6, 7, generator=generator)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("hybrid", lambda s, d: log_softmax(d, axis=1)[:, 1] - logsumexp(s, axis=1)),
        ("posterior", lambda s, d: log_softmax(d, axis=1)[:, 1]),
        ("likelihood", lambda s, d: -logsumexp(s, axis=1)),
        ("max_softmax", lambda s, d: -softmax(s, axis=1).max(axis=1)),
        ("max_logit", lambda s, d: -s.max(axis=1)),
    ],
)
def test_score_equals_its_definition(name: str, reference, heads) -> None:
    expected = reference(*(head.double().numpy() for head in heads))
    score = SCORES[name](*heads)
    assert score.dtype == torch.float32
    np.testing.assert_allclose(score.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_confident_inliers_keep_a_finite_and_ordered_posterior() -> None:
    heads = torch.tensor([[200.0, 150.0], [0.0, 0.0]]).view(1, 2, 1, 2)
    score = posterior(None, heads)
    assert torch.isfinite(score).all()
    assert score[0, 0, 0] < score[0, 0, 1]  # log(softmax) would give -inf twice


def test_confident_outliers_keep_an_ordered_posterior() -> None:
    heads = torch.zeros(1, 2, 1, 4)
    heads[0, 1, 0] = torch.tensor([15.0, 20.0, 40.0, 80.0])
    values = posterior(None, heads)[0, 0]
    assert (values.diff() > 0).all()
    assert values[-1] < 0


def test_half_precision_inputs_are_scored_in_float32(heads) -> None:
    halves = [head.half() for head in heads]
    assert torch.equal(hybrid(*halves), hybrid(*(half.float() for half in halves)))


class PointwiseNetwork(SegmentationNetwork):
    """Sees each pixel alone, so that what the head and the score add can be checked by themselves."""

    num_classes, prelogit_channels, output_stride = 4, 6, 1

    def __init__(self) -> None:
        super().__init__()
        self.features = torch.nn.Conv2d(3, 6, 1)
        self.classifier = torch.nn.Conv2d(6, 4, 1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        prelogits = self.features(images)
        return prelogits, self.classifier(prelogits)


def test_score_is_per_pixel_and_translation_equivariant() -> None:
    torch.manual_seed(1)
    model = DenseHybrid(PointwiseNetwork()).eval()

    def score(images: torch.Tensor) -> torch.Tensor:
        output = model(images)
        size = tuple(images.shape[2:])
        return hybrid(upsample(output.logits, size), upsample(output.posterior, size))

    images = torch.rand(1, 3, 12, 16)
    with torch.inference_mode():
        before = score(images)
        shifted = score(images.roll((3, 5), dims=(2, 3)))
        changed = images.clone()
        changed[0, :, 4, 7] = 1 - changed[0, :, 4, 7]
        after = score(changed)
    torch.testing.assert_close(shifted, before.roll((3, 5), dims=(1, 2)))
    differs = after != before
    assert differs[0, 4, 7]
    assert differs.sum() == 1
