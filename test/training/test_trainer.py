"""The training loop on tiny frames: it learns, repeats, resumes exactly, and says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from densehybrid_ros.datasets.training_frames import FrameStore
from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import DenseHybrid, SegmentationNetwork
from densehybrid_ros.training.config import DataConfig, LossConfig, NegativesConfig, TrainConfig
from densehybrid_ros.training.crops import CropConfig
from densehybrid_ros.training.trainer import Trainer

CPU = torch.device("cpu")


class TinyNetwork(SegmentationNetwork):
    """Two convolutions: enough to learn colours."""

    num_classes, prelogit_channels, output_stride = 3, 8, 4

    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, stride=4, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU()
        )
        self.classifier = torch.nn.Conv2d(8, 3, 1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        prelogits = self.encoder(images)
        return prelogits, self.classifier(prelogits)

    def encoder_parameters(self) -> list[torch.nn.Parameter]:
        return list(self.encoder.parameters())


@pytest.fixture
def store() -> FrameStore:
    """Three classes, told apart by their colour."""
    labels = torch.zeros((6, 48, 64), dtype=torch.uint8)
    labels[:, 16:32], labels[:, 32:] = 1, 2
    return FrameStore((torch.nn.functional.one_hot(labels.long(), 3).permute(0, 3, 1, 2) * 255).to(torch.uint8), labels)


def make(store: FrameStore, run: Path | None = None, **changes) -> Trainer:
    settings = {
        "name": "tiny",
        "architecture": "light",
        "steps": 40,
        "batch_size": 4,
        "learning_rate": 3e-2,
        "warmup_steps": 2,
        "ema_decay": 0.9,
        "crops": CropConfig(height=32, width=32, noise=0.0),
        "negatives": NegativesConfig(size=(8.0, 24.0)),
        **changes,
    }
    torch.manual_seed(0)
    cutout = torch.full((4, 20, 20), 255, dtype=torch.uint8)
    return Trainer(TrainConfig(**settings), DenseHybrid(TinyNetwork()), [(store, 1.0)], [cutout], CPU, None, run)


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "log.jsonl").read_text().splitlines()]


def test_it_learns_and_the_average_is_what_comes_back(store: FrameStore) -> None:
    trainer = make(store, steps=60)
    model = trainer.run().eval()
    with torch.inference_mode():
        prediction = model(store.images.float() / 255).logits.argmax(1)
    assert (prediction == store.labels[:, ::4, ::4]).float().mean() > 0.85
    assert model is not trainer.model
    assert trainer.curves[-1]["loss"] < trainer.curves[0]["loss"]


def test_open_set_training_tells_negatives_from_inliers(store: FrameStore) -> None:
    trainer = make(store, stage="open_set", steps=80, loss=LossConfig(beta=0.3))
    trainer.run()
    parts = trainer.curves[-1]
    assert parts["outlier_posterior"] < trainer.curves[0]["outlier_posterior"]
    assert parts["outlier_likelihood"] < trainer.curves[0]["outlier_likelihood"]


def test_a_seed_repeats_a_run_bit_for_bit(store: FrameStore) -> None:
    first, second = (make(store, stage="open_set", steps=6).run().state_dict() for _ in range(2))
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_a_resumed_run_goes_on_as_if_nothing_had_happened(store: FrameStore, tmp_path: Path) -> None:
    settings = {"stage": "open_set", "steps": 30, "checkpoint_every": 10}
    whole = make(store, tmp_path / "whole", **settings).run().state_dict()
    cut = make(store, tmp_path / "cut", **settings)
    for _ in cut._steps():
        if cut.step == 10:
            cut.save_checkpoint()
        if cut.step == 13:
            break  # killed here: what came after the checkpoint is lost
    resumed = make(store, tmp_path / "cut", **settings)
    assert resumed.resume()
    assert resumed.step == 10
    result = resumed.run().state_dict()
    assert all(torch.equal(value, result[key]) for key, value in whole.items())


def test_without_a_checkpoint_there_is_nothing_to_resume(store: FrameStore, tmp_path: Path) -> None:
    assert not make(store, tmp_path).resume()


def test_a_broken_checkpoint_is_named(store: FrameStore, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(InputError, match=r"checkpoint\.pt: not a checkpoint of this run"):
        make(store, tmp_path).resume()


def test_a_diverged_loss_stops_with_a_mend(store: FrameStore) -> None:
    trainer = make(store, steps=20)
    with torch.no_grad():
        trainer.model.network.classifier.weight.fill_(float("nan"))
    with pytest.raises(InputError, match=r"step 20: the loss is nan; lower learning_rate"):
        trainer.run()


def test_the_encoder_learns_at_its_share_of_the_rate(store: FrameStore) -> None:
    trainer = make(store, encoder_rate_factor=0.25)
    trainer._set_rate()
    encoder, rest = (group["lr"] for group in trainer.optimizer.param_groups)
    assert encoder == pytest.approx(0.25 * rest)


def test_stores_are_drawn_by_their_shares(store: FrameStore) -> None:
    trainer = make(store, batch_size=64, crops=CropConfig(height=8, width=8, color_jitter=0.0, noise=0.0))
    void = FrameStore(store.images, torch.full_like(store.labels, 255))
    trainer.stores = [(store, 0.75), (void, 0.25)]
    is_void = torch.cat([(trainer.batch(step).labels == 255).all((1, 2)) for step in range(8)])
    assert 0.15 < is_void.float().mean() < 0.35


def test_void_frames_alone_train_on(store: FrameStore, tmp_path: Path) -> None:
    trainer = make(store, tmp_path, stage="open_set", steps=3, negatives=NegativesConfig(probability=0.0))
    trainer.stores = [(FrameStore(store.images, torch.full_like(store.labels, 255)), 1.0)]
    trainer.run()
    assert losses(tmp_path) == [0.0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage": "open"}, "stage=open"),
        ({"steps": 0}, "steps=0"),
        ({"data": DataConfig(rendered_share=2.0)}, "rendered_share"),
        ({"loss": LossConfig(weighting="mine")}, r"loss\.weighting=mine.*paper"),
    ],
)
def test_wrong_settings_are_named(store: FrameStore, changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(store, **changes)
