"""What a run needs of its network is known before the first step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plain_network import PlainNetwork
from tiny import settings

from densehybrid_ros import DenseHybrid, register_network
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import ModelCard, registry, save_model
from densehybrid_ros.training.config import LossConfig
from densehybrid_ros.training.run_models import initial_model, open_teacher


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
        ({"loss": LossConfig(hints=0.5)}, "loss.hints=0.5: plain has no encode with features at four strides; set 0"),
        ({"init": "imagenet"}, "init=imagenet: no ImageNet weights come with plain; set encoder_weights=FILE"),
        (
            {"architecture": "bare", "init": "imagenet", "encoder_weights": "w.pth"},
            "w.pth: AdaptedNetwork takes no ImageNet weights; use init=random",
        ),
        ({"init": "imagenet", "encoder_weights": "w.pth"}, "w.pth: can't be read"),
        ({"encoder_weights": "w.pth"}, "encoder_weights=w.pth: needs init=imagenet, not random"),
    ],
)
def test_what_a_network_lacks_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}") as refused:
        initial_model(settings(**{"architecture": "plain", **changes}), CITYSCAPES_CLASSES)
    assert "\n" not in str(refused.value)


def test_a_teacher_without_encoder_features_gives_no_hints(tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    save_model(path, DenseHybrid(PlainNetwork(19), classifier="head.1"), ModelCard("teacher", "bare"))
    with pytest.raises(InputError, match=r"^loss\.hints=1\.0: bare, the teacher, has no encode"):
        open_teacher(settings(loss=LossConfig(hints=1.0, teacher=str(path))), CITYSCAPES_CLASSES)
    assert open_teacher(settings(loss=LossConfig(distillation=1.0, teacher=str(path))), CITYSCAPES_CLASSES)
