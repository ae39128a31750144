# SPDX-License-Identifier: Apache-2.0
"""What only a GPU can show: half precision, CUDA graphs and pinned transfers do what the plain way does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import CUTOUT, FLOW, TinyNetwork, colored_store, settings

from densehybrid_ros.networks import DenseHybrid
from densehybrid_ros.networks.dense_flow import FLOWS, DenseFlow
from densehybrid_ros.training.batches import BatchMaker, CropTask, stream
from densehybrid_ros.training.config import DataConfig, LossConfig, NegativesConfig
from densehybrid_ros.training.crops import CropConfig
from densehybrid_ros.training.flow_task import FlowTask
from densehybrid_ros.training.pasting import cutout_overlays
from densehybrid_ros.training.segmentation_task import SegmentationTask
from densehybrid_ros.training.synthetic_negatives import FlowPartner
from densehybrid_ros.training.trainer import Trainer

pytestmark = pytest.mark.gpu


def train(run: Path | None = None, resume: bool = False, stop: int = 0, **changes: Any) -> Trainer:
    device = torch.device("cuda", 0)
    config = settings(**{"steps": 10, "learning_rate": 1e-2, "data": DataConfig(workers=2), **changes})
    torch.manual_seed(0)
    sources = [(colored_store().to(device), 1.0)]
    overlays, partner = None, None
    if config.stage == "flow":
        task: Any = FlowTask(config, DenseFlow(FLOWS["dense_flow_tiny"]), device)
    else:
        if config.joint:
            partner = FlowPartner(DenseFlow(FLOWS["dense_flow_tiny"]), 1, device, **FLOW)
        elif config.stage == "open_set":
            overlays = cutout_overlays(lambda size, rng: CUTOUT, config.negatives)
        task = SegmentationTask(config, DenseHybrid(TinyNetwork()), device, None, partner)
    trainer = Trainer(config, task, BatchMaker(config.seed, config.crops, sources, device, overlays), None, run)
    if resume:
        assert trainer.resume()
    if not stop:
        trainer.run()
        return trainer
    for step in trainer.steps():  # a run that is killed
        if step % config.checkpoint_every == 0:
            trainer.save_checkpoint()
        if step == stop:
            break
    return trainer


@pytest.mark.parametrize("stage", ["closed_set", "open_set"])
@pytest.mark.parametrize("distillation", [0.0, 0.5])
def test_a_cuda_graph_trains_like_eager(stage: str, distillation: float) -> None:
    loss = LossConfig(weighting="margins", distillation=distillation)
    eager, graph = (train(stage=stage, loss=loss, cuda_graph=flag) for flag in (False, True))
    tolerance = 5e-2
    for first, second in zip(eager.curves, graph.curves, strict=True):
        assert first["loss"] == pytest.approx(second["loss"], rel=tolerance, abs=tolerance)
    states = [run.task.model.state_dict() for run in (eager, graph)]
    torch.testing.assert_close(
        states[0]["network.encoder.1.running_mean"],
        states[1]["network.encoder.1.running_mean"],
        atol=10 * tolerance,  # sums in another order, amplified by ten steps at a high rate
        rtol=10 * tolerance,
    )


def test_the_joint_step_runs_in_half_precision() -> None:
    run = train(stage="open_set", negatives=NegativesConfig(source="flow"))
    assert all(torch.isfinite(torch.tensor(list(point.values()))).all() for point in run.curves)
    assert run.curves[-1]["flow_bits"] < run.curves[0]["flow_bits"]


def test_a_flow_in_a_cuda_graph_trains_like_eager() -> None:
    crops = CropConfig(height=16, width=16, scale=(1.0, 1.0), color_jitter=0.0, blur_probability=0.0, noise=0.0)
    flow = {"stage": "flow", "crops": crops, "learning_rate": 3e-3, "steps": 20}
    eager, graph = (train(**flow), train(**flow, cuda_graph=True))
    assert eager.curves[-1]["loss"] < eager.curves[0]["loss"]
    for first, second in zip(eager.curves, graph.curves, strict=True):
        assert first["loss"] == pytest.approx(second["loss"], rel=1e-2, abs=1e-2)


def test_batches_finished_aside_are_those_made_at_once() -> None:
    device = torch.device("cuda", 0)
    config = settings(stage="open_set")
    overlays = cutout_overlays(lambda size, rng: CUTOUT, config.negatives)
    maker = BatchMaker(
        config.seed, CropConfig(height=32, width=32), [(colored_store().to(device), 1.0)], device, overlays
    )
    tasks = [CropTask(step, 0, 4) for step in range(12)]
    streamed = stream(maker, tasks, 3)
    for task, batch in zip(tasks, streamed, strict=True):
        for first, second in zip(batch, maker.batch(task), strict=True):
            torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_a_resumed_run_goes_on_in_its_cuda_graph(tmp_path: Path) -> None:
    whole = train(cuda_graph=True)
    begun = train(cuda_graph=True, checkpoint_every=4, run=tmp_path, stop=6)
    assert begun.step == 6
    resumed = train(cuda_graph=True, run=tmp_path, resume=True)
    assert [point["step"] for point in resumed.curves] == list(range(1, 11))
    for first, second in zip(whole.curves, resumed.curves, strict=True):
        assert first["loss"] == pytest.approx(second["loss"], rel=1e-2, abs=1e-2)
