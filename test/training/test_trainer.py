# SPDX-License-Identifier: Apache-2.0
"""The training loop on tiny frames: it learns, repeats, resumes exactly, and says what is wrong."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import TinyNetwork, colored_store, settings, trainer

from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import DenseHybrid
from densehybrid_ros.training.config import DataConfig, LossConfig, NegativesConfig
from densehybrid_ros.training.crops import CropConfig
from densehybrid_ros.training.optimization import MovingAverage, set_rate

EVERYTHING = {
    "closed set": {},
    "cut-outs": {"stage": "open_set"},
    "cut-outs, distilled": {"stage": "open_set", "loss": LossConfig(distillation=1.0)},
    "joint flow": {"stage": "open_set", "negatives": NegativesConfig(source="flow")},
    "flow": {
        "stage": "flow",
        "crops": CropConfig(height=16, width=16, scale=(1.0, 1.0), color_jitter=0.0, blur_probability=0.0, noise=0.0),
        "learning_rate": 1e-3,
    },
    "processes": {"stage": "open_set", "data": DataConfig(workers=2)},
}


def tensors(state: Any, name: str = "") -> dict[str, torch.Tensor]:
    """All tensors of a task's state by name, those of the optimisers and the flow too."""
    if isinstance(state, torch.Tensor):
        return {name: state}
    items = state.items() if isinstance(state, dict) else ()
    return {found: value for key, item in items for found, value in tensors(item, f"{name}.{key}").items()}


def logged_steps(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]


def test_it_learns_and_the_average_is_what_comes_back() -> None:
    run = trainer(settings(steps=60))
    model = run.run().eval()
    store = colored_store()
    with torch.inference_mode():
        prediction = model(store.images.float() / 255).logits.argmax(1)
    assert (prediction == store.labels[:, ::4, ::4]).float().mean() > 0.85
    assert model is not run.task.model
    assert run.curves[-1]["loss"] < 0.3  # ln 3 = 1.1 is chance


@pytest.mark.parametrize("source", ["cutouts", "flow"])
def test_open_set_training_tells_negatives_from_inliers(source: str) -> None:
    negatives = NegativesConfig(source=source, size=(8.0, 24.0))
    run = trainer(settings(stage="open_set", steps=60, loss=LossConfig(beta=0.3), negatives=negatives))
    curves = [{name: float(value) for name, value in run.losses.items()} for _ in run.steps()]
    # Of several batches each: a batch of four crops has few negatives, and not the same ones.
    first, last = (
        {name: sum(curve[name] for curve in part) for name in curves[0]} for part in (curves[:10], curves[-10:])
    )
    assert last["inlier_posterior"] + last["outlier_posterior"] < first["inlier_posterior"] + first["outlier_posterior"]
    assert last["outlier_likelihood"] < first["outlier_likelihood"]


@pytest.mark.parametrize("changes", EVERYTHING.values(), ids=EVERYTHING.keys())
def test_a_run_resumed_at_its_checkpoint_ends_bit_for_bit_as_one_that_was_never_stopped(
    changes: dict, tmp_path: Path
) -> None:
    config = settings(steps=6, checkpoint_every=3, **changes)
    whole, cut = (trainer(config, tmp_path / name) for name in ("whole", "cut"))
    whole.run()
    steps = cut.steps()
    for step in steps:
        if step == 3:
            cut.save_checkpoint()
        if step == 5:
            break  # killed here: what came after the checkpoint is lost
    steps.close()
    resumed = trainer(config, tmp_path / "cut")
    assert resumed.resume()
    assert resumed.step == 3
    resumed.run()
    left, right = tensors(whole.task.state_dict()), tensors(resumed.task.state_dict())
    assert left.keys() == right.keys()
    assert [name for name, value in left.items() if not torch.equal(value, right[name])] == []


def test_a_broken_checkpoint_is_named_and_none_is_no_fault(tmp_path: Path) -> None:
    assert not trainer(settings(), tmp_path).resume()
    (tmp_path / "checkpoint.pt").write_bytes(b"half a file")
    with pytest.raises(InputError, match=r"checkpoint\.pt: not a checkpoint of this run"):
        trainer(settings(), tmp_path).resume()


def test_a_diverged_loss_stops_with_a_mend_and_a_cuda_graph_needs_a_gpu() -> None:
    run = trainer(settings(steps=20))
    with torch.no_grad():
        run.task.model.network.classifier.weight.fill_(float("nan"))
    with pytest.raises(InputError, match=r"step 1: the loss is nan; lower learning_rate"):
        run.run()
    with pytest.raises(InputError, match="cuda_graph=true: needs a GPU"):
        trainer(settings(cuda_graph=True)).run()


def test_rates_warm_up_and_the_encoder_has_its_share() -> None:
    config = settings(schedule="constant", warmup_steps=4, steps=100, encoder_rate_factor=0.25)
    optimizer = trainer(config).task.optimizer
    rates = [set_rate(optimizer, config, step) for step in (0, 3, 50, 99)]
    assert rates == pytest.approx([config.learning_rate / 4] + 3 * [config.learning_rate])
    encoder, rest = (group["lr"] for group in optimizer.param_groups)
    assert encoder == pytest.approx(0.25 * rest)


def test_the_average_follows_weights_statistics_and_counters_and_goes_on_when_resumed() -> None:
    torch.manual_seed(0)
    model = DenseHybrid(TinyNetwork())
    average = MovingAverage(model, decay=0.9)
    expected: dict[str, torch.Tensor] = {}
    for number in range(4):
        with torch.no_grad():
            for value in model.state_dict().values():
                value.add_(torch.rand_like(value) if value.is_floating_point() else 1)
        decay = min(0.9, (1 + number) / (10 + number)) if number else 0.0
        for name, value in model.state_dict().items():
            mixed = value.is_floating_point() and number
            expected[name] = expected[name].lerp(value, 1 - decay) if mixed else value.clone()
        if number == 2:
            state = copy.deepcopy(average.state_dict())
            average = MovingAverage(model, decay=0.9)
            average.load_state_dict(state)
        average.update()
    for name, value in average.module.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert average.updates == 4


def test_a_new_run_does_not_mix_with_an_earlier_one_of_its_name(tmp_path: Path) -> None:
    for steps in (4, 2):
        trainer(settings(steps=steps), tmp_path, validate=lambda model: {"mean_iou": 9.0}).run()
    assert logged_steps(tmp_path) == [1, 2, 2]
    assert torch.load(tmp_path / "checkpoint.pt")["step"] == 2


def test_a_run_that_was_killed_at_its_end_has_its_figures(tmp_path: Path) -> None:
    config = settings(steps=3)
    for folder, expected in (("validated", 5.0), ("not yet", 6.0)):
        first = trainer(config, tmp_path / folder, validate=lambda model: {"mean_iou": 5.0})
        if folder == "validated":
            first.run()
        else:
            for _ in first.steps():
                first.save_checkpoint()
        resumed = trainer(config, tmp_path / folder, validate=lambda model: {"mean_iou": 6.0})
        assert resumed.resume()
        resumed.run()
        assert resumed.figures == {"mean_iou": expected}


@pytest.mark.parametrize("kind", ["joint flow", "flow"])
def test_pictures_and_scalars_are_left_behind(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    config = settings(steps=2, validate_every=1, **EVERYTHING[kind])
    run = trainer(config, tmp_path, validate=lambda model: {"mean_iou": 1.0})
    run.run()
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    expected = {"joint flow": ("flow_samples", "mixed"), "flow": ("crops", "flow_samples")}[kind]
    assert names == sorted(f"{name}_{step:06d}.png" for name in expected for step in (1, 2))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path)).Reload()
    assert {"train/loss", "validation/mean_iou"} <= set(events.Tags()["scalars"])
    assert set(events.Tags()["images"]) == set(expected)


def test_what_a_killed_run_wrote_after_its_checkpoint_is_dropped(tmp_path: Path) -> None:
    config = settings(steps=24, checkpoint_every=20)
    run = trainer(config, tmp_path)
    steps = run.steps()
    assert [next(steps) for _ in range(20)][-1] == 20
    run.save_checkpoint()
    steps.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 22, "loss": 5.0}\n{"step": 23, "lo')
    resumed = trainer(config, tmp_path)
    resumed.resume()
    resumed.run()
    assert logged_steps(tmp_path) == [*range(1, 21), 24]


def test_the_progress_says_loss_rate_and_time_left(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr("densehybrid_ros.progress._SECONDS_BETWEEN_LINES", 0.0)
    trainer(settings(steps=4)).run()
    assert re.search(r"train tiny: 2/4 steps, loss [\d.]+, [\d.e+]+ images/s, [\d.]+ min left", capsys.readouterr().err)
