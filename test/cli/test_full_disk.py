# SPDX-License-Identifier: Apache-2.0
"""What each command that writes says where it can't: one line that names the file, status 2, and nothing half-written.

A limit on the size of files is met where a full disk would be, at a write in the middle, and takes the same way.
"""

from __future__ import annotations

import json
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from rendered_bag import write_drive

from densehybrid_ros.cli.main import main
from densehybrid_ros.datasets.pictures import write_picture

ROOM = 100  # bytes a file


@pytest.fixture(scope="module")
def place(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, pictures with labels and a bag."""
    place = tmp_path_factory.mktemp("full_disk")
    for ending in (".safetensors", ".yaml"):
        shutil.copy(model_path.with_suffix(ending), place)
    rng = np.random.default_rng(1)
    for index in range(2):
        write_picture(place / "image" / f"{index}.png", rng.integers(0, 255, (64, 96, 3), np.uint8))
        write_picture(place / "label" / f"{index}.png", rng.integers(0, 2, (64, 96), np.uint8))
    write_drive(place / "drive", 1, (128, 64))
    return place


@contextmanager
def little_room(size: int = ROOM) -> Iterator[None]:
    """No file may become larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


SET = "--dataset folder --root PLACE --model PLACE/tiny.safetensors"
REPLAY = "replay PLACE/drive --model PLACE/tiny.safetensors --device cpu --threshold 0"
BAG = "bag rendered out --frames 1 --size 64x32"
WRITES = [
    (BAG, "out"),
    (f"{BAG} --storage sqlite3", "out"),
    ("info --json out", "out"),
    (f"evaluate {SET} --scores hybrid --json out", "out"),
    (f"evaluate {SET} --scores hybrid --report out", "out/report.json"),
    (f"evaluate {SET} --scores hybrid --card", "PLACE/tiny.yaml"),
    (f"calibrate {SET} --by outlier_tpr95 --output out", "out"),
    (f"{REPLAY} --json out", "out"),
    (f"{REPLAY} --report out", "out/report.json"),
    (f"{REPLAY} --overlays out", "out/frame_000000_0.00s.jpg"),
]


@pytest.mark.parametrize(("command", "file"), WRITES)
def test_a_command_without_room_names_the_file(
    command: str, file: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path: path.read_bytes() for path in place.iterdir() if path.is_file()}
    with little_room():
        assert main(command.replace("PLACE", str(place)).split()) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    written = file.replace("PLACE", str(place))
    assert last.startswith(f"densehybrid {command.split()[0]}: {written}: can't be written: ")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path: path.read_bytes() for path in place.iterdir() if path.is_file()} == before


def test_a_training_without_room_keeps_its_checkpoint_and_goes_on_later(data: Path, tmp_path: Path, capsys) -> None:
    run = {"name": "light", "architecture": "light", "batch_size": 2, "warmup_steps": 1}
    run |= {"crops": {"height": 64, "width": 64}, "data": {"workers": 0}, "terms": "none", "checkpoint_every": 1}
    config, output = tmp_path / "run.yaml", tmp_path / "light.safetensors"
    config.write_text(yaml.safe_dump({**run, "steps": 1}))
    command = ["train", "--config", str(config), "--output", str(output), "--device", "cpu"]
    data_set = f"data.cityscapes_640={data}"
    assert main([*command, data_set]) == 0
    checkpoint, model = tmp_path / "light_run" / "checkpoint.pt", output.read_bytes()
    saved = checkpoint.read_bytes()

    config.write_text(yaml.safe_dump({**run, "steps": 2}))
    capsys.readouterr()
    with little_room(100_000):
        assert main([*command, "--resume", data_set]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"densehybrid train: {checkpoint}: can't be written: ")
    assert checkpoint.read_bytes() == saved
    assert output.read_bytes() == model
    assert not list(tmp_path.rglob(".*"))

    assert main([*command, "--resume", data_set]) == 0
    steps = [json.loads(line)["step"] for line in (tmp_path / "light_run" / "log.jsonl").read_text().splitlines()]
    assert sorted(set(steps)) == [1, 2]
