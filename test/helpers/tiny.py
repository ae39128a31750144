# SPDX-License-Identifier: Apache-2.0
"""A network, a flow and frames that train in a second, for the tests of training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from densehybrid_ros.datasets.training_frames import FrameStore
from densehybrid_ros.networks import DenseHybrid, SegmentationNetwork
from densehybrid_ros.networks.dense_flow import FLOWS, DenseFlow
from densehybrid_ros.training.batches import BatchMaker
from densehybrid_ros.training.config import DataConfig, NegativesConfig, TrainConfig
from densehybrid_ros.training.crops import CropConfig
from densehybrid_ros.training.distributed import ALONE, Processes
from densehybrid_ros.training.flow_task import FlowTask
from densehybrid_ros.training.pasting import cutout_overlays
from densehybrid_ros.training.segmentation_task import SegmentationTask
from densehybrid_ros.training.synthetic_negatives import FlowPartner
from densehybrid_ros.training.trainer import Trainer, Validate

CPU = torch.device("cpu")
FLOW = {"largest": 24, "learning_rate": 1e-3}
CUTOUT = torch.full((4, 20, 20), 255, dtype=torch.uint8)


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


def colored_store() -> FrameStore:
    """Three classes, told apart by their colour."""
    labels = torch.zeros((6, 48, 64), dtype=torch.uint8)
    labels[:, 16:32], labels[:, 32:] = 1, 2
    return FrameStore((torch.nn.functional.one_hot(labels.long(), 3).permute(0, 3, 1, 2) * 255).to(torch.uint8), labels)


def settings(**changes: Any) -> TrainConfig:
    values = {
        "name": "tiny",
        "architecture": "light",
        "steps": 40,
        "batch_size": 4,
        "learning_rate": 3e-2,
        "warmup_steps": 2,
        "ema_decay": 0.9,
        "crops": CropConfig(height=32, width=32, noise=0.0),
        "negatives": NegativesConfig(size=(8.0, 24.0)),
        "data": DataConfig(workers=0),
        **changes,
    }
    return TrainConfig(**values)


def trainer(
    config: TrainConfig,
    run: Path | None = None,
    store: FrameStore | None = None,
    processes: Processes = ALONE,
    validate: Validate | None = None,
    network: Callable[[], SegmentationNetwork] = TinyNetwork,
    device: torch.device = CPU,
) -> Trainer:
    """A run of ``config`` on coloured frames."""
    torch.manual_seed(config.seed)
    sources = [((store or colored_store()).to(device), 1.0)]
    if config.stage == "flow":
        task: Any = FlowTask(config, DenseFlow(FLOWS["dense_flow_tiny"]), device, processes)
        return Trainer(config, task, BatchMaker(config.seed, config.crops, sources, device), validate, run, processes)
    overlays, partner = None, None
    if config.joint:
        flow = DenseFlow(FLOWS["dense_flow_tiny"])
        flow.initialize(torch.rand(4, 3, 16, 16))
        partner = FlowPartner(flow, config.seed, device, processes, **FLOW)
    if config.stage == "open_set" and config.negatives.source == "cutouts":
        overlays = cutout_overlays(lambda size, rng: CUTOUT, config.negatives)
    maker = BatchMaker(config.seed, config.crops, sources, device, overlays, config.negatives.source == "void")
    task = SegmentationTask(config, DenseHybrid(network()), device, processes, partner)
    return Trainer(config, task, maker, validate, run, processes)
