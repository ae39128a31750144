# SPDX-License-Identifier: Apache-2.0
"""The groups of the fault campaign that need no ROS: damaged bags, damaged models, wrong command lines."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml
from rosbags.rosbag1 import Writer as Writer1
from rosbags.typesys import Stores, get_typestore
from safetensors.numpy import load_file, save_file

from densehybrid_ros.bags.messages import typestore
from densehybrid_ros.bags.reader import open_recording
from densehybrid_ros.bags.storage import open_storage
from densehybrid_ros.cli.commands import COMMANDS
from densehybrid_ros.cli.main import main
from densehybrid_ros.demo.node_process import with_this_package
from densehybrid_ros.errors import InputError
from densehybrid_ros.networks.weights import load_model, model_path
from fault_tally import Plan, Tally, cut, flipped, timed, within, zeroed

_PATIENCE = 120  # seconds for a case
_FRAMES = 6
_THROUGH_COMMAND = 10  # every so many-th damaged bag goes through the command line
_ROSBAG1 = "drive.bag"
_TRACEBACK = "Traceback (most recent call last)"


def run_command(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs ``densehybrid`` as a process of its own."""
    command = [sys.executable, "-m", "densehybrid_ros", *words]
    environment = with_this_package({**os.environ, "HOME": str(folder), "OMP_NUM_THREADS": "1"})
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace", timeout=_PATIENCE
    )


@contextmanager
def judged(tally: Tally, note: str) -> Iterator[None]:
    """Counts how a case in this process ends: well or refused in one line, late, or with an exception."""
    began = time.monotonic()
    tally.tried += 1
    try:
        yield
    except InputError as error:
        if "\n" in str(error).strip():
            tally.fell("tracebacks", f"{note}: refused in more than one line: {error}")
    except TimeoutError as error:
        tally.fell("unanswered", f"{note}: {error}")
        return
    except Exception as error:
        tally.fell("tracebacks", f"{note}: {type(error).__name__}: {error}")
        return
    tally.answered(time.monotonic() - began)


def bags(plan: Plan) -> Tally:
    """Reads cut, flipped and otherwise damaged recordings in this process, and some through ``densehybrid replay``."""
    tally = Tally("bags")
    with tempfile.TemporaryDirectory() as name, timed(tally):
        folder = Path(name)
        whole = {storage: write(folder / storage) for storage, write in _WRITERS.items()}
        known = {storage: _pictures(path) for storage, path in whole.items()}
        for number in plan.numbers(100):
            random = plan.random("bags", number)
            storage = random.choice(list(whole))
            path = folder / "damaged"
            what, counts = _damaged_bag(random, whole[storage], path)
            note = f"case {number} ({storage}, {what})"
            if number % _THROUGH_COMMAND == _THROUGH_COMMAND - 1:
                _through_command(tally, note, path, folder)
            else:
                with judged(tally, note):
                    found, remarks = _read(path)
                    if counts and len(found) < len(known[storage]) and not remarks:
                        tally.fell("wrong", f"{note}: {len(found)} of {len(known[storage])} frames, and no word of it")
            _remove(path)
    return tally


def _read(path: Path) -> tuple[dict[int, bytes], list[str]]:
    remarks: list[str] = []

    def read() -> dict[int, bytes]:
        recording = open_recording(_recording(path), leave_out=lambda reason, frames: remarks.append(reason))
        return {frame.stamp: frame.image.tobytes() for frame in recording}

    return within(_PATIENCE, read), remarks


def _recording(path: Path) -> Path:
    """Returns the path of a recording: a ROS 1 bag is a file, the others are the folder."""
    return path / _ROSBAG1 if (path / _ROSBAG1).exists() else path


def _pictures(path: Path) -> dict[int, bytes]:
    found, remarks = _read(path)
    assert len(found) == _FRAMES, remarks
    return found


def _through_command(tally: Tally, note: str, path: Path, folder: Path) -> None:
    tally.tried += 1
    began = time.monotonic()
    try:
        result = run_command("replay", str(_recording(path)), "--device", "cpu", "-p", "backend:=eager", folder=folder)
    except subprocess.TimeoutExpired:
        tally.fell("unanswered", f"{note}: replay takes longer than {_PATIENCE} s")
        return
    _judge_command(tally, f"{note}, replay", result, (0, 2), time.monotonic() - began)


def _judge_command(
    tally: Tally, note: str, result: subprocess.CompletedProcess[str], allowed: tuple[int, ...], seconds: float
) -> None:
    lines = result.stderr.strip().splitlines()
    if _TRACEBACK in result.stderr + result.stdout:
        tally.fell("tracebacks", f"{note}: {lines[-1] if lines else ''}")
    elif result.returncode not in allowed:
        tally.fell("crashes", f"{note}: status {result.returncode}: {lines[-1] if lines else 'no word'}")
    elif result.returncode == 2 and allowed == (2,) and len(lines) != 1:
        tally.fell("tracebacks", f"{note}: {len(lines)} lines: {result.stderr}")
    else:
        tally.answered(seconds)


def _write_bag(path: Path, storage: str) -> Path:
    words = ("bag", "rendered", str(path), "--frames", str(_FRAMES), "--size", "64x32", "--storage", storage)
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        status = main(words)
    assert status == 0, "the bag that is to be damaged can't be written"
    return path


def _write_rosbag1(path: Path) -> Path:
    """Writes the recording of ``densehybrid bag`` once more as a ROS 1 bag, which the command itself does not write."""
    source = _write_bag(path.with_name("for_rosbag1"), "mcap")
    store, ros_1 = typestore(), get_typestore(Stores.ROS1_NOETIC)
    path.mkdir()
    with Writer1(path / _ROSBAG1) as writer:
        connections: dict[str, Any] = {}
        for raw in open_storage(source).messages():
            if raw.kind not in ros_1.types:
                continue
            if raw.topic not in connections:
                connections[raw.topic] = writer.add_connection(raw.topic, raw.kind, typestore=ros_1)
            writer.write(connections[raw.topic], raw.time, store.cdr_to_ros1(raw.data, raw.kind))
    return path


_WRITERS: dict[str, Callable[[Path], Path]] = {
    "mcap": lambda path: _write_bag(path, "mcap"),
    "sqlite3": lambda path: _write_bag(path, "sqlite3"),
    "rosbag1": _write_rosbag1,
}


def _damaged_bag(random: Random, source: Path, path: Path) -> tuple[str, bool]:
    """Copies a bag with damage; returns what it is and whether lost frames must be told."""
    shutil.copytree(source, path)
    file = random.choice([item for item in sorted(path.iterdir()) if item.suffix != ".yaml"])
    metadata = path / "metadata.yaml"
    what = random.choice(("cut", "flipped", "flipped", "flipped often", "zeroed", "noise", "start", "metadata"))
    if what == "metadata" and not metadata.exists():
        what = "flipped"
    if what == "metadata":
        metadata.write_bytes(random.choice((cut, flipped, zeroed))(random, metadata.read_bytes()))
        return what, False
    if metadata.exists() and random.random() < 0.3:
        metadata.unlink()
    data = file.read_bytes()
    damage: dict[str, Callable[[], bytes]] = {
        "cut": lambda: cut(random, data),
        "flipped": lambda: flipped(random, data),
        "flipped often": lambda: flipped(random, data, most=len(data) // 100),
        "zeroed": lambda: zeroed(random, data),
        "noise": lambda: data[: random.randrange(200)] + random.randbytes(random.randrange(5000)),
        "start": lambda: flipped(random, data, last=200),
    }
    file.write_bytes(damage[what]())
    return what, what not in ("flipped", "start", "flipped often")


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def models(plan: Plan) -> Tally:
    """Loads damaged cards and weights: refused in one line, or harmless."""
    tally = Tally("models")
    with tempfile.TemporaryDirectory() as name, timed(tally):
        folder = Path(name)
        for number in plan.numbers(100):
            path, what, is_seen = damaged_model(plan.random("models", number), folder)
            note = f"case {number} ({what})"
            with judged(tally, note):
                within(_PATIENCE, partial(load_model, path))
                if is_seen:
                    tally.fell("wrong", f"{note}: loaded")
    return tally


_WILD: tuple[Any, ...] = (
    float("nan"),
    float("inf"),
    float("-inf"),
    1e400,
    -1,
    0,
    10**30,
    "",
    "x",
    None,
    [],
    {},
    [1, 2],
    True,
)


def damaged_model(random: Random, folder: Path) -> tuple[Path, str, bool]:
    """Writes a damaged copy of the model ``light``; returns its path, what it is, and whether it must be refused."""
    source, path = model_path("light"), folder / "damaged.safetensors"
    card = source.with_suffix(".yaml")
    shutil.copyfile(source, path)
    path.with_suffix(".yaml").write_bytes(card.read_bytes())
    what, damage, is_seen = random.choice(_MODEL_DAMAGE)
    is_card = what.startswith("card")
    damaged_path = path.with_suffix(".yaml") if is_card else path
    told = damage(random, damaged_path)
    return path, f"{what}{f', {told}' if told else ''}", is_seen(told) if callable(is_seen) else is_seen


def _rewrite(change: Callable[[Random, bytes], bytes]) -> Callable[[Random, Path], str]:
    def damage(random: Random, path: Path) -> str:
        path.write_bytes(change(random, path.read_bytes()))
        return ""

    return damage


def _wild_entry(random: Random, path: Path) -> str:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    key = random.choice(["name", "architecture", "input", "thresholds", "confidence", "classes"])
    value = random.choice(_WILD)
    if isinstance(content[key], dict) and random.random() < 0.8:
        inner = random.choice(list(content[key]))
        content[key][inner] = value
        told = f"{key}.{inner}: {value!r}"
    else:
        content[key] = value
        told = f"{key}: {value!r}"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return told


def _is_no_number(told: str) -> bool:
    key, _, value = told.partition(": ")
    return key.startswith(("thresholds.", "confidence.")) and value in (
        "nan",
        "inf",
        "-inf",
        "''",
        "'x'",
    )


def _missing_entry(random: Random, path: Path) -> str:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    key = random.choice(["name", "architecture", "input", "classes"])
    del content[key]
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return key


def _tensor_file(change: Callable[[Random, dict[str, np.ndarray]], str]) -> Callable[[Random, Path], str]:
    """Changes tensors and leaves the file itself well formed, so that only what is in it tells."""

    def damage(random: Random, path: Path) -> str:
        data = path.read_bytes()
        header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
        tensors = load_file(path)
        told = change(random, tensors)
        save_file(tensors, path, metadata=header["__metadata__"])
        return told

    return damage


def _not_finite(random: Random, tensors: dict[str, np.ndarray]) -> str:
    key = random.choice(list(tensors))
    tensors[key].reshape(-1)[random.randrange(tensors[key].size)] = random.choice((np.nan, np.inf, -np.inf))
    return f"a number of {key}"


def _other_shape(random: Random, tensors: dict[str, np.ndarray]) -> str:
    key = random.choice([key for key, value in tensors.items() if value.size > 1])
    tensors[key] = np.ascontiguousarray(tensors[key].reshape(-1)[:-1])
    return f"shape of {key}"


def _other_names(random: Random, tensors: dict[str, np.ndarray]) -> str:
    key = random.choice(list(tensors))
    value = tensors.pop(key)
    if random.random() < 0.5:
        tensors[random.choice(("x", "", f"{key}.x"))] = value
    return key


def _flipped_header(random: Random, data: bytes) -> bytes:
    return flipped(random, data, last=8 + struct.unpack("<Q", data[:8])[0])


def _flipped_tensor(random: Random, data: bytes) -> bytes:
    return flipped(random, data, first=8 + struct.unpack("<Q", data[:8])[0])


_MODEL_DAMAGE: tuple[tuple[str, Callable[[Random, Path], str], Any], ...] = (
    ("card cut", _rewrite(lambda random, data: cut(random, data, least=len(data) - 200)), True),
    ("card flipped", _rewrite(flipped), False),
    ("card of noise", _rewrite(lambda random, data: random.randbytes(500)), True),
    ("card with a wild entry", _wild_entry, _is_no_number),
    ("card with a wild entry", _wild_entry, _is_no_number),
    ("card without an entry", _missing_entry, True),
    ("weights cut", _rewrite(cut), True),
    ("weights' header flipped", _rewrite(_flipped_header), False),
    ("weights' tensors flipped", _rewrite(_flipped_tensor), True),
    ("weights of noise", _rewrite(lambda random, data: random.randbytes(5000)), True),
    ("weights that are not finite", _tensor_file(_not_finite), True),
    ("weights of another shape", _tensor_file(_other_shape), True),
    ("weights of other names", _tensor_file(_other_names), True),
)


def commands(plan: Plan) -> Tally:
    """Runs wrong command lines over all commands: each must end with status 2 and one line."""
    tally = Tally("commands")
    with tempfile.TemporaryDirectory() as name, timed(tally):
        folder = Path(name)
        (folder / "empty").mkdir()
        (folder / "text.txt").write_text("text", encoding="utf-8")
        (folder / "noise.pth").write_bytes(Random(0).randbytes(1000))
        (folder / "noise.mcap").write_bytes(b"\x89MCAP0\r\n" + Random(1).randbytes(1000))
        for number in plan.numbers(100):
            words = wrong_words(plan.random("commands", number), number)
            tally.tried += 1
            began, note = time.monotonic(), f"case {number} (densehybrid {' '.join(words)!r})"
            try:
                result = run_command(*words, folder=folder)
            except subprocess.TimeoutExpired:
                tally.fell("unanswered", f"{note}: takes longer than {_PATIENCE} s")
                continue
            _judge_command(tally, note, result, (2,), time.monotonic() - began)
    return tally


_NEEDED: dict[str, tuple[str, ...]] = {
    "demo": ("--frames", "nowhere"),
    "train": ("--config", "text.txt"),
    "import": ("noise.pth", "--format", "densehybrid", "--output", "out.safetensors", "--terms", "none"),
    "evaluate": ("--dataset", "lost_and_found_sample", "--root", "empty"),
    "calibrate": ("--dataset", "lost_and_found_sample", "--root", "empty"),
    "bag": ("empty", "out"),
    "replay": ("noise.mcap",),
    "predict": ("noise.mcap", "--output", "out"),
    "tune": ("noise.mcap", "--output", "out"),
    "config": ("show", "--config", "text.txt"),
    "compile": ("--model", "nobody"),
    "export": ("--model", "nobody", "--output", "out.onnx"),
    "completion": ("nushell",),
    "benchmark": ("engine", "--models", "nobody", "--no-build"),
    "info": ("--json", "empty"),
}
"""Arguments with which a command has all that it needs, and of which one is wrong."""

_OPTIONS: dict[str, tuple[str, ...]] = {
    "demo": ("--frames", "--output", "--count", "--seconds", "--fps", "--size", "--model", "--threshold", "--rate"),
    "train": ("--config", "--output", "--device"),
    "import": ("--format", "--output", "--classes"),
    "evaluate": (
        "--dataset",
        "--table",
        "--root",
        "--scores",
        "--min-area",
        "--ego-mask",
        "--bins",
        "--limit",
        "--json",
        "--model",
    ),
    "calibrate": (
        "--dataset",
        "--root",
        "--by",
        "--false-hazards-per-minute",
        "--hertz",
        "--min-area",
        "--ego-mask",
        "--output",
        "--limit",
    ),
    "bag": ("--fps", "--frames", "--size", "--camera", "--disparity", "--labels", "--storage", "--topics", "--seed"),
    "replay": ("--params-file", "-p", "--model", "--threshold", "--bins", "--topics", "--speeds", "--limit", "--json"),
    "predict": ("--output", "--fps", "--topics", "--limit", "--params-file", "-p", "--model", "--threshold"),
    "tune": ("--output", "--fps", "--every", "--thresholds", "--trigger-counts", "--min-hazard-areas", "-p", "--json"),
    "config": ("--config", "--init", "--data"),
    "compile": ("--model", "--size", "--precision", "--backend", "--device", "--cache"),
    "export": ("--model", "--output", "--size", "--opset", "--format"),
    "completion": ("--shell",),
    "benchmark": ("--models", "--size", "--repeats", "--device", "--json"),
    "info": ("--json", "--cache"),
}
_VALUES: tuple[str, ...] = (
    "",
    " ",
    "nan",
    "inf",
    "-1",
    "0",
    "1e400",
    "x",
    "empty",
    "nowhere/x",
    "text.txt",
    "text.txt/x",
    "é☃",
    "0x0",
)
_VALUES += ("99999999999999999999", "1x1x1", ",", "=", ":=", "a:=b", "model:=[1", "\n", "cuda:99", "[", "{", "'", "%s")


def wrong_words(random: Random, number: int) -> list[str]:
    """Draws a wrong command line; the commands take turns."""
    command = list(COMMANDS)[number % len(COMMANDS)]
    option, value = random.choice(_OPTIONS[command]), random.choice(_VALUES)
    kind = random.randrange(6)
    if kind == 0:
        return [command, *_NEEDED[command], "--no-such-option"]
    if kind == 1:
        return [command, *_NEEDED[command], option]
    if kind == 2:
        return [random.choice(("", "demos", "--x", value or "-"))]
    if kind == 3:
        return [command, *_NEEDED[command]]
    return [command, *_NEEDED[command], option, value]
