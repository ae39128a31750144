# SPDX-License-Identifier: Apache-2.0
"""``densehybrid import``: from a published file to a model that loads."""

from __future__ import annotations

import argparse
import hashlib
import io
import warnings
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from densehybrid_ros.cli.main import main
from densehybrid_ros.networks import build_network, load_model
from densehybrid_ros.research.published_weights import densenet121_names


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A file with the keys of torchvision's densenet121, made from our random encoder by the table."""
    torch.manual_seed(5)
    encoder = build_network("ldn121", 19).state_dict()
    names = densenet121_names("features.")
    state = {}
    for key, tensor in encoder.items():
        module, _, leaf = key.rpartition(".")
        if module in names:
            state[f"{names[module]}.{leaf}"] = tensor
    state |= {"features.norm5.weight": torch.ones(1024), "classifier.bias": torch.zeros(1000)}
    torch.save(state, tmp_path / "densenet121.pth")
    return tmp_path / "densenet121.pth"


def run(file: Path, output: Path, *more: str) -> int:
    command = ["import", "--format", "torchvision_densenet121", str(file), "--output", str(output)]
    return main([*command, "--terms", "trained on ImageNet: research only", *more])


def test_the_model_loads_and_its_card_says_where_it_is_from(published: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "models" / "densenet121.safetensors"
    assert run(published, output, "--classes", "street_hazards") == 0
    assert "random: all but the encoder" in capsys.readouterr().out
    model = load_model(output)
    assert run(published, tmp_path / "half.safetensors", "--half") == 0
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * output.stat().st_size
    assert load_model(tmp_path / "half.safetensors").card.num_classes == 19
    state = torch.load(published, weights_only=True)
    ours = model.network.network.state_dict()["blocks.2.5.grow.conv.weight"]
    torch.testing.assert_close(ours, state["features.denseblock3.denselayer6.conv2.weight"], rtol=0, atol=0)
    assert model.card.architecture == "ldn121"
    assert [item.name for item in model.card.classes][:2] == ["unlabeled", "building"]
    assert model.card.num_classes == 12
    assert model.card.details["terms"] == "trained on ImageNet: research only"
    (stage,) = model.card.details["training"]
    assert stage["stage"] == "encoder"
    assert stage["imported"] == {
        "format": "torchvision_densenet121",
        "file": "densenet121.pth",
        "sha256": hashlib.sha256(published.read_bytes()).hexdigest(),
    }


def test_classes_without_a_table_are_one_line(published: Path, tmp_path: Path, capsys) -> None:
    torch.save({"final.6.weight": torch.zeros(5, 256, 1, 1)}, published)
    arguments = ["import", "--format", "nvidia_deeplab", str(published), "--output", str(tmp_path / "x.safetensors")]
    assert main([*arguments, "--terms", "none"]) == 2
    what = "5 classes, for which there is no table (cityscapes 19, street_hazards 12)"
    assert capsys.readouterr().err == f"densehybrid import: {published}: {what}\n"
    assert not list(tmp_path.glob("*.safetensors"))


class Options:
    """A class of somebody's training code."""


BESIDE: dict[str, Any] = {
    "args": argparse.Namespace(lr=0.1, folder=Path("runs"), more=argparse.Namespace(betas=(0.9, 0.99))),
    "options": SimpleNamespace(depth=121),
    "best": np.float64(0.5),
    "others": [np.float32(1), np.float16(1), np.int64(3), np.uint8(3), np.bool_(True), np.str_("a")],
    "curve": np.arange(5),
    "names": np.array(["road"]),
    "paths": [Path("/a/b"), PureWindowsPath("c:/a")],
    "containers": [Counter("aab"), {1, 2}, frozenset([1]), deque([1, 2]), defaultdict(list, a=[1]), defaultdict(int)],
}


@pytest.mark.parametrize("archive", [True, False], ids=["zip", "before torch 1.6"])
def test_harmless_things_beside_the_weights_are_passed_over(published: Path, tmp_path: Path, archive: bool) -> None:
    state = OrderedDict(torch.load(published, weights_only=True))
    torch.save({"state_dict": state} | BESIDE, published, _use_new_zipfile_serialization=archive)
    assert run(published, tmp_path / "model.safetensors") == 0
    weights = load_model(tmp_path / "model.safetensors").network.network.state_dict()
    torch.testing.assert_close(
        weights["blocks.2.5.grow.conv.weight"], state["features.denseblock3.denselayer6.conv2.weight"], rtol=0, atol=0
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"state_dict": {}, "cfg": Options()}, "holds more than weights: test_import_weights.Options; where its code"),
        (torch.nn.Sequential(torch.nn.ReLU()), "holds more than weights: torch.nn.modules."),
        ({"model": {}, "epoch": 3}, "holds no state dict (names to tensors), but model (dict), epoch (int); is it a"),
        ({"state_dict": {"a": torch.zeros(2)}, "args": BESIDE["args"]}, "holds state_dict (dict), args (Namespace);"),
        (torch.zeros(2), "holds no state dict (names to tensors), but one Tensor; is it a"),
    ],
    ids=["class", "module", "other names", "other keys", "tensor"],
)
@pytest.mark.parametrize("archive", [True, False], ids=["zip", "before torch 1.6"])
def test_what_is_too_much_is_named(
    published: Path, tmp_path: Path, capsys, content: Any, said: str, archive: bool
) -> None:
    torch.save(content, published, _use_new_zipfile_serialization=archive)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(published, tmp_path / "model.safetensors") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"densehybrid import: {published}: ")
    assert said in line
    assert "\x1b" not in line


def test_what_torch_save_did_not_write_is_one_line(published: Path, tmp_path: Path, capsys) -> None:
    newer, small = io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": {}}, newer, pickle_protocol=4)
    torch.save({"state_dict": {"a": torch.zeros(2000)}}, small)
    cut = (published.read_bytes()[:100_000], small.getvalue()[: small.tell() // 2])
    for data in (b"", b"hello\n" * 50, bytes(range(256)) * 20, *cut, newer.getvalue()):
        published.write_bytes(data)
        assert run(published, tmp_path / "model.safetensors") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "not a weights file of torch.save" in line
