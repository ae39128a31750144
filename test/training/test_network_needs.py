# SPDX-License-Identifier: Apache-2.0
"""What a run needs of its network is known before the first step."""

from __future__ import annotations

from typing import Any

import pytest
from plain_network import PlainNetwork
from tiny import settings

from densehybrid_ros import DenseHybrid, register_network
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import registry
from densehybrid_ros.training.run_models import initial_model


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Architectures: ``plain``, a module with an encoder, and ``bare``, one that names none."""
    monkeypatch.setattr(registry, "_registered", {})
    register_network("plain", lambda k: DenseHybrid(PlainNetwork(k), classifier="head.1", encoder="backbone"))
    register_network("bare", lambda k: DenseHybrid(PlainNetwork(k), classifier="head.1"))


def test_a_registered_network_starts_a_run() -> None:
    model, card = initial_model(settings(architecture="plain", encoder_rate_factor=0.1), CITYSCAPES_CLASSES)
    assert (model.num_classes, card.architecture) == (19, "plain")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "other"}, "architecture 'other': not installed; no package has the entry point other"),
        ({"architecture": "bare", "encoder_rate_factor": 0.1}, "encoder_rate_factor=0.1: bare names no encoder; set 1"),
        ({"init": "imagenet"}, "init=imagenet: no ImageNet weights come with plain; use init=imagenet:FILE or random"),
        (
            {"architecture": "bare", "init": "imagenet:w.pth"},
            "w.pth: AdaptedNetwork takes no ImageNet weights; use init=random",
        ),
        ({"init": "imagenet:w.pth"}, "w.pth: can't be read"),
    ],
)
def test_what_a_network_lacks_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}") as refused:
        initial_model(settings(**{"architecture": "plain", **changes}), CITYSCAPES_CLASSES)
    assert "\n" not in str(refused.value)
