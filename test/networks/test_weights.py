# SPDX-License-Identifier: Apache-2.0
"""Saving and loading models, and the refusal of files that do not fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file

from densehybrid_ros.errors import InputError, OutputError
from densehybrid_ros.files import file_digest
from densehybrid_ros.networks import DenseHybrid, ModelCard, build_network, check_output, load_model, save_model

THRESHOLDS = {"thresholds": {"inlier_q95": -4.5}, "default_threshold": "inlier_q95"}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[DenseHybrid, Path]:
    """A model, and its file."""
    torch.manual_seed(3)
    network = DenseHybrid(build_network("light", 19)).eval()
    path = tmp_path_factory.mktemp("model") / "toy.safetensors"
    save_model(path, network, ModelCard("toy", "light", **THRESHOLDS, details={"terms": "none"}))
    return network, path


@pytest.fixture
def saved(original: tuple[DenseHybrid, Path], tmp_path: Path) -> Path:
    """A copy of the file and its card."""
    for path in original[1].parent.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / "toy.safetensors"


def edit_card(path: Path, **entries) -> None:
    card = path.with_suffix(".yaml")
    card.write_text(yaml.safe_dump(yaml.safe_load(card.read_text()) | entries))


def test_weights_and_card_come_back_with_convolutions_in_half_precision(
    original: tuple[DenseHybrid, Path], saved: Path, tmp_path: Path
) -> None:
    network, _ = original
    loaded = load_model(saved)
    assert not loaded.network.training
    assert loaded.card.threshold() == -4.5
    assert loaded.card.details == {"terms": "none"}
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert (loaded.network(images).logits - network(images).logits).abs().max() < 0.02
    with safe_open(saved, framework="pt") as file:
        dtypes = {key: file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118
    assert dtypes["network.stem.0.weight"] == torch.float16
    assert dtypes["network.stem.1.running_var"] == torch.float32  # float16 might overflow
    save_model(tmp_path / "exact.safetensors", network, ModelCard("exact", "light"), half=False)
    exact = load_model(tmp_path / "exact.safetensors").network.state_dict()
    assert all(torch.equal(value, exact[key]) for key, value in network.state_dict().items())


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "model" / "light.safetensors"
    for value in (float("nan"), 1e6):  # the latter not in float16
        network = DenseHybrid(build_network("light", 19))
        network.state_dict()["network.stem.0.weight"].fill_(value)
        with pytest.raises(InputError, match=r"light\.safetensors: not written, network\.stem\.0\.weight would hold"):
            save_model(path, network, ModelCard("light", "light"))
        assert not path.parent.exists()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("network.stem.0.weight", float("nan"), "numbers that are not finite"),
        ("posterior_head.conv.bias", float("-inf"), "numbers that are not finite"),
        ("network.stem.1.running_var", -1.0, "variances below 0"),
    ],
)
def test_weights_that_can_not_be_are_not_loaded(saved: Path, key: str, value: float, message: str) -> None:
    with safe_open(saved, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors[key].view(-1)[0] = value
    save_file(tensors, saved, metadata=metadata)
    edit_card(saved, sha256=file_digest(saved))
    with pytest.raises(InputError, match=rf"^{saved}: tensor {key} holds {message}$"):
        load_model(saved)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_bit, r"toy\.safetensors: damaged.*sha256"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1000]), r"toy\.safetensors: truncated"),
        (lambda path: path.write_bytes(b"not safetensors at all" * 10), "truncated or not a safetensors file"),
        (lambda path: edit_card(path, architecture="ldn121"), "architecture is light but its card says ldn121"),
        (
            lambda path: edit_card(path, classes=[{"name": "road", "color": [1, 2, 3]}]),
            "num_classes is 19 but its card says 1",
        ),
        (lambda path: path.with_suffix(".yaml").unlink(), r"toy\.yaml: model card can't be read"),
        (lambda path: path.unlink(), r"toy\.safetensors: no such file"),
    ],
)
def test_files_that_are_damaged_or_no_pair_are_named(
    saved: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(saved)
    with pytest.raises(InputError, match=message):
        load_model(saved)


def test_unknown_names_list_what_there_is() -> None:
    with pytest.raises(InputError, match="not among the shipped ones"):
        load_model("nonesuch")


def test_a_card_without_digest_is_warned_of(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_model(saved)
    assert not caplog.records
    edit_card(saved, sha256=None)
    load_model(saved)
    (record,) = caplog.records
    assert f"densehybrid info --check {saved} --add-digest" in record.getMessage()


def test_a_network_whose_output_is_not_finite_is_found(saved: Path) -> None:
    model = load_model(saved)
    check_output(model)
    with torch.no_grad():
        for weights in model.network.posterior_head.parameters():
            weights.fill_(3e38)  # finite until they are multiplied
    with pytest.raises(InputError, match=r"toy\.safetensors: the network's output is not finite"):
        check_output(model)


def test_a_failed_save_leaves_the_old_model(original: tuple[DenseHybrid, Path], saved: Path) -> None:
    network, card = original[0], saved.with_suffix(".yaml")
    before = saved.read_bytes(), card.read_bytes()
    with pytest.raises(InputError, match=r"toy\.yaml: not written, thresholds\.t: nan is not finite"):
        save_model(saved, network, ModelCard("toy", "light", thresholds={"t": float("nan")}))
    assert (saved.read_bytes(), card.read_bytes()) == before
    card.unlink()
    card.mkdir()  # now it can't be written: so the weights beside it stay, too
    with pytest.raises(OutputError, match=r"toy\.yaml: can't be written: Is a directory"):
        save_model(saved, network, ModelCard("toy", "light"))
    assert saved.read_bytes() == before[0]
    assert sorted(path.name for path in saved.parent.iterdir()) == ["toy.safetensors", "toy.yaml"]
