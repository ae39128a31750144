# SPDX-License-Identifier: Apache-2.0
"""A look at a frame: the network sees what it sees in a drive, and its maps lie where those of a drive do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference import INPUT_POLICIES, Segmenter
from densehybrid_ros.networks import DenseHybrid, LoadedModel, ModelCard, build_network
from densehybrid_ros.scores import hybrid

IMAGE = np.random.default_rng(0).integers(0, 256, (70, 110, 3), dtype=np.uint8)


def segmenter(policy: str = "exact", size: tuple[int, int] | None = None) -> Segmenter:
    torch.manual_seed(4)
    model = LoadedModel(DenseHybrid(build_network("light", 19)).eval(), ModelCard("toy", "light"), Path("x"))
    return Segmenter(model, "eager", "cpu", input_policy=policy, size=size, warn=lambda text: None)


@pytest.mark.parametrize("policy", INPUT_POLICIES)
@pytest.mark.parametrize("size", [(64, 128), (128, 96)])
def test_score_and_classes_of_a_look_are_those_of_a_drive(policy: str, size: tuple[int, int]) -> None:
    made = segmenter(policy, size)
    result, look = made(IMAGE[:, :, ::-1], 0.0), made.look(IMAGE[:, :, ::-1])
    logits, posterior = look.enlarge(look.seen.logits), look.enlarge(look.seen.posterior)
    np.testing.assert_allclose(hybrid(logits, posterior)[0].numpy(), result.anomaly_score, atol=1e-4)
    top = logits[0].topk(2, dim=0).values
    clear = (top[0] - top[1]).numpy() > 1e-4
    assert (logits.argmax(dim=1)[0].numpy() == result.semantic)[clear].all()
    assert look.seen.images.shape[2:] == look.placement.network
    assert made.input_size == (None if policy == "exact" else size)


def test_gradients_go_through_what_looked() -> None:
    made = segmenter()
    with torch.inference_mode():
        seen = made.look(IMAGE).seen
    images = seen.images.clone().requires_grad_()
    seen.model.network(images)[1].sum().backward()
    assert images.grad is not None


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(InputError, match="needs uint8"):
        segmenter().look(IMAGE[:, :, 0])
