# SPDX-License-Identifier: Apache-2.0
"""Training from Python, from a configuration to a model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from small_frames import write_small_frames

from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import load_model
from densehybrid_ros.training import train
from densehybrid_ros.training.config import TrainConfig

RUN = """
name: light
architecture: light
stage: open_set
steps: 3
batch_size: 2
warmup_steps: 1
crops: {height: 64, width: 64}
negatives: {size: [8, 24]}
terms: none / at all
"""


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    root = write_small_frames(tmp_path / "data")
    (tmp_path / "run.yaml").write_text(RUN)
    words = [f"data.cityscapes_640={root}", f"negatives.root={root / 'negatives'}", "data.workers=0", "steps=2"]
    return train.read_config(str(tmp_path / "run.yaml"), words)


def test_a_run_leaves_model_and_card_and_goes_on_where_it_ended(
    config: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "open" / "light.safetensors"
    trained = train.run(config, str(output), device="cpu")
    assert (trained.path, trained.written) == (output, True)
    assert 0 <= trained.figures["mean_iou"] <= 100
    loaded = load_model(output)
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        made, read = trained.model(image).logits, loaded.network(image).logits
    torch.testing.assert_close(made, read, atol=0.05, rtol=0.05)  # convolutions are stored as float16
    (stage,) = loaded.card.details["training"]
    assert "command" not in stage
    written = yaml.safe_load(RUN) | {"steps": 2, "data": {"cityscapes_640": "data", "workers": 0}}
    written["negatives"]["root"] = "negatives"
    del written["terms"]  # the card has them
    assert stage["configuration"] == written
    assert stage["validation"] == trained.figures
    assert stage["data"] == {
        "cityscapes_640": {"train": 4, "val": 2},
        "negatives": {"source": "cutouts", "pictures": 2},
    }

    again = train.run(config, output, device="cpu", resume=True)
    assert "resumed at step 2" in capsys.readouterr().err
    assert again.figures == trained.figures


def test_a_name_that_no_model_has_is_refused_before_any_work(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"output light\.pth: the name must end in \.safetensors"):
        train.run(config, "light.pth")
