# SPDX-License-Identifier: Apache-2.0
"""Saving and loading models, and the refusal of files that do not fit."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file

from densehybrid_ros.errors import InputError, OutputError
from densehybrid_ros.files import file_digest
from densehybrid_ros.networks import (
    DenseHybrid,
    ModelCard,
    build_network,
    check_output,
    load_model,
    save_model,
)
from densehybrid_ros.networks.weights import _is_finite


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    card = ModelCard(
        "toy",
        "light",
        thresholds={"inlier_q95": -4.5},
        default_threshold="inlier_q95",
        details={"terms": "none"},
    )
    path = tmp_path / "toy.safetensors"
    save_model(path, DenseHybrid(build_network("light", 19)), card)
    return path


def edit_card(path: Path, **entries) -> None:
    card = path.with_suffix(".yaml")
    content = yaml.safe_load(card.read_text())
    content.update(entries)
    card.write_text(yaml.safe_dump(content))


def test_weights_and_card_come_back(saved: Path) -> None:
    torch.manual_seed(3)
    original = DenseHybrid(build_network("light", 19)).eval()
    loaded = load_model(saved)
    assert not loaded.network.training
    assert loaded.card.threshold() == -4.5
    assert loaded.card.details == {"terms": "none"}
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        difference = (loaded.network(images).logits - original(images).logits).abs().max()
    assert difference < 0.02  # convolutions are stored as float16


def test_full_precision_is_exact(tmp_path: Path) -> None:
    network = DenseHybrid(build_network("light", 19))
    save_model(tmp_path / "exact.safetensors", network, ModelCard("exact", "light"), half=False)
    loaded = load_model(tmp_path / "exact.safetensors").network.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in network.state_dict().items())


def test_half_precision_spares_what_float16_might_overflow(saved: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        dtypes = {key: file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118
    assert dtypes["network.stem.0.weight"] == torch.float16
    assert dtypes["network.stem.1.running_var"] == torch.float32


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "model" / "light.safetensors"
    for value in (float("nan"), 1e6):  # the latter not in float16
        network = DenseHybrid(build_network("light", 19))
        network.state_dict()["network.stem.0.weight"].fill_(value)
        with pytest.raises(InputError, match=r"light\.safetensors: not written, network\.stem\.0\.weight would hold"):
            save_model(path, network, ModelCard("light", "light"))
        assert not path.parent.exists()


def with_weight(path: Path, key: str, value: float) -> None:
    """Writes a number into a tensor of a file, and the file's new digest into its card."""
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors[key].view(-1)[0] = value
    save_file(tensors, path, metadata=metadata)
    edit_card(path, sha256=file_digest(path))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("network.stem.0.weight", float("nan"), "numbers that are not finite"),
        ("network.stem.0.weight", float("inf"), "numbers that are not finite"),
        ("posterior_head.conv.bias", float("-inf"), "numbers that are not finite"),
        ("network.stem.1.running_var", -1.0, "variances below 0"),
    ],
)
def test_weights_that_can_not_be_are_not_loaded(saved: Path, key: str, value: float, message: str) -> None:
    with_weight(saved, key, value)
    with pytest.raises(InputError, match=rf"^{saved}: tensor {key} holds {message}$"):
        load_model(saved)


def test_the_check_of_all_weights_is_quick() -> None:
    values = DenseHybrid(build_network("light", 19)).state_dict().values()
    began = time.process_time()
    assert all(_is_finite(value) for value in values)
    assert time.process_time() - began < 0.1


def test_a_flipped_bit_is_seen(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-1000] ^= 1
    saved.write_bytes(content)
    with pytest.raises(InputError, match=r"toy\.safetensors: damaged.*sha256"):
        load_model(saved)


def test_a_card_without_digest_is_warned_of(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_model(saved)
    assert not caplog.records
    edit_card(saved, sha256=None)
    load_model(saved)
    (record,) = caplog.records
    assert f"densehybrid info --check {saved} --add-digest" in record.getMessage()


def test_a_network_whose_output_is_not_finite_is_found(saved: Path) -> None:
    check_output(load_model(saved))
    network = DenseHybrid(build_network("light", 19))
    with torch.no_grad():
        for weights in network.posterior_head.parameters():
            weights.fill_(3e38)  # finite until they are multiplied
    save_model(saved, network, ModelCard("toy", "light"), half=False)
    with pytest.raises(InputError, match=r"toy\.safetensors: the network's output is not finite"):
        check_output(load_model(saved))


def test_a_card_that_would_be_refused_leaves_the_old_model(saved: Path) -> None:
    before = saved.read_bytes(), saved.with_suffix(".yaml").read_bytes()
    card = ModelCard("toy", "light", thresholds={"t": float("nan")})
    with pytest.raises(InputError, match=r"toy\.yaml: not written, thresholds\.t: nan is not finite"):
        save_model(saved, DenseHybrid(build_network("light", 19)), card)
    assert (saved.read_bytes(), saved.with_suffix(".yaml").read_bytes()) == before


def test_a_truncated_file_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"toy\.safetensors: truncated"):
        load_model(saved)


def test_garbage_is_refused(saved: Path) -> None:
    saved.write_bytes(b"not safetensors at all" * 10)
    with pytest.raises(InputError, match=r"toy\.safetensors: truncated or not a safetensors file"):
        load_model(saved)


def test_another_architecture_is_refused(saved: Path) -> None:
    edit_card(saved, architecture="ldn121")
    with pytest.raises(InputError, match=r"toy\.safetensors: architecture is light but its card says ldn121"):
        load_model(saved)


def test_another_class_count_is_refused(saved: Path) -> None:
    edit_card(saved, classes=[{"name": "road", "color": [1, 2, 3]}])
    with pytest.raises(InputError, match=r"toy\.safetensors: num_classes is 19 but its card says 1"):
        load_model(saved)


def test_a_missing_card_is_named(saved: Path) -> None:
    saved.with_suffix(".yaml").unlink()
    with pytest.raises(InputError, match=r"toy\.yaml"):
        load_model(saved)


def test_unknown_names_list_what_there_is() -> None:
    with pytest.raises(InputError, match="not among the shipped ones"):
        load_model("nonesuch")
    with pytest.raises(InputError, match="no such file"):
        load_model("/nowhere/x.safetensors")


def test_a_failed_save_leaves_the_old_model(saved: Path) -> None:
    """The card can't be written, as a folder has its name: so the weights beside it stay, too."""
    before = saved.read_bytes()
    saved.with_suffix(".yaml").unlink()
    saved.with_suffix(".yaml").mkdir()
    with pytest.raises(OutputError, match=r"toy\.yaml: can't be written: Is a directory"):
        save_model(saved, DenseHybrid(build_network("light", 19)), ModelCard("toy", "light"))
    assert saved.read_bytes() == before
    assert sorted(path.name for path in saved.parent.iterdir()) == ["toy.safetensors", "toy.yaml"]
