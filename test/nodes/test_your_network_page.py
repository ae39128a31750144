# SPDX-License-Identifier: Apache-2.0
"""docs/your-network.md: its files, its Python and its commands, on small data."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest
from small_frames import write_small_frames

from densehybrid_ros.cli.main import main
from densehybrid_ros.demo.node_process import NodeProcess
from densehybrid_ros.networks import read_card, registry

PAGE = Path(__file__).resolve().parents[2] / "docs" / "your-network.md"
SMALLER = {"steps: 3000": "steps: 2", "batch_size: 16": "batch_size: 2", "512": "32", "[16, 320]": "[8, 24]"}
"""Of the page's run."""
MODEL = "runs/my_network.safetensors"
LIBRARIES = ("timm", "torchvision", "segmentation_models_pytorch")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def needs(block: str) -> str | None:
    found = re.match(r"# needs (\w+)\n", block)
    return found[1] if found else None


def commands(block: str) -> list[list[str]]:
    return [shlex.split(line, comments=True) for line in block.splitlines() if not line.startswith("#")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's package, as pip sees it, its run and data of these names."""
    folder = tmp_path_factory.mktemp("page")
    module, setup = (block for block in blocks("python")[:2])
    (folder / "my_networks.py").write_text(module)
    (folder / "setup.py").write_text(setup)
    command = [sys.executable, "setup.py", "-q", "egg_info"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (run,) = blocks("yaml")
    for text, smaller in SMALLER.items():
        assert text in run
        run = run.replace(text, smaller)
    (folder / "my_run.yaml").write_text(run.replace("data: {", "data: {workers: 0, "))
    write_small_frames(folder / "data")
    rng = np.random.default_rng(1)
    for part in ("image", "label"):
        (folder / "held_out" / part).mkdir(parents=True)
    for number in range(2):
        label = np.zeros((64, 96), np.uint8)
        label[20:40, 30:60] = 1
        image = rng.integers(0, 100, (64, 96, 3), dtype=np.uint8) + 150 * label[..., None]
        cv2.imwrite(str(folder / "held_out" / "image" / f"{number}.png"), image)
        cv2.imwrite(str(folder / "held_out" / "label" / f"{number}.png"), label)
    return folder


@pytest.fixture(autouse=True)
def there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setattr(registry, "_registered", {})
    yield
    sys.modules.pop("my_networks", None)


def run_command(words: list[str]) -> None:
    assert words[0] == "densehybrid"
    if words[1] == "compile" and shutil.which("c++") is None:
        return
    device = [] if words[1] in ("info", "train") else ["--device", "cpu"]
    assert main([*words[1:], *device]) == 0, words


def test_the_commands_lead_from_the_package_to_a_replay(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = (block for block in blocks("bash") if "densehybrid info" in block)
    for words in commands(block):
        run_command(words)
    assert f"{MODEL}: whole; my_network, 19 classes" in capsys.readouterr().out
    card = read_card((folder / MODEL).with_suffix(".yaml"))
    assert (card.architecture, card.default_threshold) == ("my_network", "outlier_tpr95")
    assert (folder / "report" / "report.html").is_file()
    assert main(["info"]) == 0
    assert re.search(r"architectures +ldn121, light, deeplab_wrn38, my_network,", capsys.readouterr().out)


def test_the_python_runs(folder: Path) -> None:
    for block in blocks("python")[2:]:
        if needs(block) is None:
            exec(block.replace("steps=1000", "steps=1"), {})
    assert registry.build_network("my_network_here", 3).num_classes == 3


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_needs_a_library_runs(library: str) -> None:
    found = [(language, block) for language in ("python", "bash") for block in blocks(language)]
    found = [(language, block) for language, block in found if needs(block) == library]
    assert found
    try:
        import_module(library)
    except Exception as error:
        pytest.skip(f"{library} does not import: {error}")
    for language, block in found:
        if language == "python":
            exec(block, {})
            assert registry.build_network("my_deeplab", 3).num_classes == 3
        else:
            for words in commands(block):
                run_command(words)


@pytest.mark.ros
def test_the_node_takes_it(folder: Path, ros: None) -> None:
    if not (folder / MODEL).is_file():
        run_command(["densehybrid", "train", "--config", "my_run.yaml", "--output", MODEL])
    (words,) = commands(next(block for block in blocks("bash") if "perception_node" in block))
    assert words[:5] == ["ros2", "run", "densehybrid_ros", "perception_node", "--ros-args"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    more = {"device": "cpu", "backend": "eager", "anomaly_threshold": 0.0}
    with NodeProcess(more, {}, environment, tuple(words[5:])) as node:
        node.wait_until_active()
        assert "(my_network)" in node.log()
