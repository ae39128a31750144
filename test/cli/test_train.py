# SPDX-License-Identifier: Apache-2.0
"""``densehybrid train`` from files to files: check, kill and resume, a flow, the joint run, several processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from densehybrid_ros.cli.main import main
from densehybrid_ros.networks import load_model
from densehybrid_ros.networks.dense_flow import load_flow

RUN = {
    "name": "light",
    "architecture": "light",
    "steps": 3,
    "batch_size": 2,
    "warmup_steps": 1,
    "crops": {"height": 64, "width": 64},
    "data": {"workers": 1},
    "terms": "none",
}
SMOOTH = {"height": 16, "width": 16, "scale": [1, 1], "color_jitter": 0, "blur_probability": 0, "noise": 0}


def write(folder: Path, **changes: object) -> Path:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({**RUN, **changes}))
    return path


def losses(run: Path) -> dict[int, float]:
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return {record["step"]: record["loss"] for record in records if "loss" in record}


def start(*arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "densehybrid_ros", "train", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def test_a_killed_run_goes_on_with_the_same_losses(data: Path, model_path: Path, tmp_path: Path) -> None:
    config = write(
        tmp_path, stage="open_set", init=str(model_path), steps=10, checkpoint_every=3, loss={"distillation": 0.5}
    )
    sources = [f"data.cityscapes_640={data}", f"negatives.root={data / 'negatives'}"]
    common = ["--config", str(config), "--device", "cpu"]
    killed = start(*common, "--output", str(tmp_path / "killed.safetensors"), *sources)
    checkpoint = tmp_path / "killed_run" / "checkpoint.pt"
    deadline = time.monotonic() + 240
    while not checkpoint.exists():
        assert killed.poll() is None, killed.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stderr.close()
    assert not (tmp_path / "killed.safetensors").exists()
    kept = int(torch.load(checkpoint)["step"])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert main(["train", *common, "--output", str(tmp_path / "killed.safetensors"), "--resume", *sources]) == 0
        assert main(["train", *common, "--output", str(tmp_path / "whole.safetensors"), *sources]) == 0
    finally:
        torch.set_num_threads(threads)
    assert kept < 10
    assert losses(tmp_path / "killed_run") == losses(tmp_path / "whole_run")
    assert sorted(losses(tmp_path / "whole_run")) == list(range(1, 11))
    first, second = (load_model(tmp_path / f"{name}.safetensors").network.state_dict() for name in ("killed", "whole"))
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_a_flow_and_then_the_joint_run_that_uses_it(data: Path, model_path: Path, tmp_path: Path) -> None:
    flow = tmp_path / "flow.safetensors"
    config = write(tmp_path, architecture="dense_flow_tiny", stage="flow", crops=SMOOTH)
    assert main(["train", "--config", str(config), "--output", str(flow), f"data.cityscapes_640={data}"]) == 0
    stage = load_flow(flow).details["training"][0]
    assert stage["validation"]["bits_per_dimension"] > 0
    assert stage["validation"]["inverse_error"] < 1e-4
    sheets = sorted(path.name for path in (tmp_path / "flow_run" / "pictures").iterdir())
    assert sheets == ["crops_000003.png", "flow_samples_000003.png"]

    joint = write(tmp_path, stage="open_set", init=str(model_path), validate_every=2, negatives={"source": "flow"})
    output = tmp_path / "joint.safetensors"
    overrides = [f"data.cityscapes_640={data}", f"negatives.root={flow}"]
    assert main(["train", "--config", str(joint), "--output", str(output), *overrides]) == 0
    card = load_model(output).card
    (stage,) = card.details["training"]
    assert stage["stage"] == "open_set"
    assert card.details["parent"]["sha256"] == load_model(model_path).card.sha256
    assert {"flow_bits", "flow_jsd", "outlier_likelihood"} <= stage["curve"].keys()
    first, second = (load_flow(path).flow.state_dict() for path in (flow, tmp_path / "joint_flow.safetensors"))
    assert any(not torch.equal(value, second[key]) for key, value in first.items())
    assert list((tmp_path / "joint_run" / "pictures").glob("mixed_*.png"))


def test_check_says_ok_and_writes_nothing(data: Path, model_path: Path, tmp_path: Path, capsys) -> None:
    config = write(tmp_path, stage="open_set", init=str(model_path))
    before = sorted(tmp_path.rglob("*"))
    sources = [f"data.cityscapes_640={data}", f"negatives.root={data / 'negatives'}"]
    assert main(["train", "--config", str(config), "--check", *sources]) == 0
    assert capsys.readouterr().out.startswith(
        "ok: 4 train frames of cityscapes_640 (128x64), 2 val frames of cityscapes_640 (128x64); one step in "
    )
    assert sorted(tmp_path.rglob("*")) == before


def test_overrides_stand_anywhere_among_the_options(data: Path, tmp_path: Path, capsys) -> None:
    config = write(tmp_path)
    words = ["train", f"data.cityscapes_640={data}", "--config", str(config), "learning_rate=-1", "--check", "steps=2"]
    assert main(words) == 2
    assert "learning_rate=-1.0: must be above 0" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--chek", "seed=1"])
    assert "densehybrid train: unrecognized arguments: " in capsys.readouterr().err


@pytest.mark.parametrize("recipe", ["objects", "boxes"])
def test_frames_and_negatives_are_read_from_files_step_by_step(
    recipe: str, data: Path, model_path: Path, tmp_path: Path
) -> None:
    config = write(
        tmp_path,
        stage="open_set",
        init=str(model_path),
        data={"sets": {"cityscapes_640": str(data)}, "workers": 2},
        negatives={"source": "dataset", "dataset": "folder", "root": str(data / "negatives"), "recipe": recipe},
    )
    output = tmp_path / "light.safetensors"
    assert main(["train", "--config", str(config), "--output", str(output)]) == 0
    stage = load_model(output).card.details["training"][-1]
    assert "mean_iou" in stage["validation"]
    assert any(value > 0 for value in stage["curve"]["outlier_posterior"])


def test_check_names_the_file_and_the_value(data: Path, tmp_path: Path, capsys) -> None:
    root = tmp_path / "broken"
    for split in ("train", "val"):
        shutil.copytree(data / split, root / split)
    cv2.imwrite(str(root / "train" / "label" / "2.png"), np.full((64, 64), 40, np.uint8))
    (root / "train" / "image" / "3.jpg").write_bytes(b"no picture")
    cv2.imwrite(str(root / "val" / "label" / "1.png"), np.full((64, 64), 30, np.uint8))
    config = write(tmp_path)
    assert main(["train", "--config", str(config), "--check", f"data.cityscapes_640={root}"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "2.png" in error
    assert "40" in error
    assert "2 more faults" in error


def test_torchrun_trains_and_one_process_writes(data: Path, tmp_path: Path) -> None:
    config = write(tmp_path, checkpoint_every=2, batch_size=4)
    output = tmp_path / "light.safetensors"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = ["train", "--config", str(config), "--device", "cpu", "--output", str(output)]
    result = subprocess.run(
        [*torchrun, "-m", "densehybrid_ros", *arguments, f"data.cityscapes_640={data}"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count(str(output)) == 1
    stage = load_model(output).card.details["training"][-1]
    assert stage["device"] == "2 x CPU"
    assert 0 <= stage["validation"]["mean_iou"] <= 100
    assert sorted(losses(tmp_path / "light_run")) == [1, 2, 3]
