# SPDX-License-Identifier: Apache-2.0
"""What only a GPU can show: half precision, CUDA graphs and pinned transfers do what the plain way does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import settings, trainer

from densehybrid_ros.training.batches import CropTask, stream
from densehybrid_ros.training.config import DataConfig, LossConfig, NegativesConfig
from densehybrid_ros.training.crops import CropConfig
from densehybrid_ros.training.trainer import Trainer

pytestmark = pytest.mark.gpu


GPU = torch.device("cuda", 0)


def train(run: Path | None = None, resume: bool = False, stop: int = 0, **changes: Any) -> Trainer:
    config = settings(**{"steps": 10, "learning_rate": 1e-2, "data": DataConfig(workers=2), **changes})
    made = trainer(config, run, device=GPU)
    if resume:
        assert made.resume()
    if not stop:
        made.run()
        return made
    for step in made.steps():  # a run that is killed
        if step % config.checkpoint_every == 0:
            made.save_checkpoint()
        if step == stop:
            break
    return made


def assert_close(first: Trainer, second: Trainer, tolerance: float) -> None:
    for one, other in zip(first.curves, second.curves, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("stage", ["closed_set", "open_set"])
@pytest.mark.parametrize("distillation", [0.0, 0.5])
def test_a_cuda_graph_trains_like_eager(stage: str, distillation: float) -> None:
    loss = LossConfig(weighting="margins", distillation=distillation)
    eager, graph = (train(stage=stage, loss=loss, cuda_graph=flag) for flag in (False, True))
    assert_close(eager, graph, 5e-2)
    means = (run.task.model.state_dict()["network.encoder.1.running_mean"] for run in (eager, graph))
    torch.testing.assert_close(*means, atol=0.5, rtol=0.5)  # sums in another order, amplified by ten steps


def test_the_joint_step_runs_in_half_precision() -> None:
    run = train(stage="open_set", negatives=NegativesConfig(source="flow"))
    assert all(torch.isfinite(torch.tensor(list(point.values()))).all() for point in run.curves)
    assert run.curves[-1]["flow_bits"] < run.curves[0]["flow_bits"]


def test_a_flow_in_a_cuda_graph_trains_like_eager() -> None:
    crops = CropConfig(height=16, width=16, scale=(1.0, 1.0), color_jitter=0.0, blur_probability=0.0, noise=0.0)
    flow = {"stage": "flow", "crops": crops, "learning_rate": 3e-3, "steps": 20}
    eager, graph = (train(**flow), train(**flow, cuda_graph=True))
    assert eager.curves[-1]["loss"] < eager.curves[0]["loss"]
    assert_close(eager, graph, 1e-2)


def test_batches_finished_aside_are_those_made_at_once() -> None:
    maker = trainer(settings(stage="open_set"), device=GPU).maker
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
    assert_close(whole, resumed, 1e-2)
