# SPDX-License-Identifier: Apache-2.0
"""Saving and loading models: NAME.safetensors beside its card NAME.yaml."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from densehybrid_ros.errors import InputError
from densehybrid_ros.files import file_digest, write_together
from densehybrid_ros.networks.base import DenseHybrid
from densehybrid_ros.networks.card import ModelCard, card_text, read_card
from densehybrid_ros.networks.registry import build_network
from densehybrid_ros.resources import share_directories

_FORMAT = "densehybrid_ros-1"
_TINY = 64  # pixels to a side

_log = logging.getLogger(__name__)


@dataclass
class LoadedModel:
    """A model in evaluation mode with its card and the weights file that it came from."""

    network: DenseHybrid
    card: ModelCard
    path: Path


def shipped_models() -> dict[str, Path]:
    """Returns the models that ship with the package: name -> weights file."""
    for directory in share_directories():
        files = sorted((directory / "models").glob("*.safetensors"))
        if files:
            return {path.stem: path for path in files}
    return {}


def model_path(name: str | Path) -> Path:
    """Turns a shipped model's name, or the path of a ``.safetensors`` file, into that file's path.

    Raises:
        InputError: There is no such model or file.
    """
    path = Path(name)
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise InputError(f"model {path}: no such file")
        return path
    if path.name != str(name):
        raise InputError(f"model {name}: not a .safetensors file")
    models = shipped_models()
    if str(name) not in models:
        raise InputError(
            f"model {str(name)!r}: not among the shipped ones ({', '.join(models) or 'none'}); "
            "or give a .safetensors file"
        )
    return models[str(name)]


def save_model(path: Path, network: DenseHybrid, card: ModelCard, half: bool = True) -> None:
    """Writes weights and card beside each other, both or neither.

    Args:
        path: ``.safetensors`` file; the card takes the same name with ``.yaml``.
        network: The model; where its tensors lie does not matter.
        card: Its card; the digest of the weights is added.
        half: Store convolution weights as float16, which halves the file. Batch-norm statistics and biases stay
            float32: they are few, and a variance may exceed float16's range.

    Raises:
        InputError: A weight is not finite, as it is or as float16; the card is one that ``read_card`` refuses; or the
            files can't be written.
    """
    tensors = {key: _stored(value, half) for key, value in network.state_dict().items() if _is_kept(key)}
    for key, value in tensors.items():
        if not _is_finite(value):
            raise InputError(f"{path}: not written, {key} would hold numbers that are not finite")
    metadata = {"format": _FORMAT, "architecture": card.architecture, "num_classes": str(card.num_classes)}
    weights, card_path = save(tensors, metadata), path.with_suffix(".yaml")
    text = card_text(card_path, replace(card, sha256=hashlib.sha256(weights).hexdigest()))
    write_together({path: weights, card_path: text.encode()})


def load_model(name: str | Path) -> LoadedModel:
    """Loads a model in evaluation mode, float32, on the CPU.

    Args:
        name: A shipped model's name ("light", "ldn121", "ldn121_synthetic") or the path of a ``.safetensors``
            file with its card beside it.

    Raises:
        InputError: The file is missing, damaged, of another architecture, or of another class count than its card; or
            a number in it or in its card can't be.
    """
    path = model_path(name)
    card = read_card(path.with_suffix(".yaml"))
    metadata, tensors = read_weights(path)
    if metadata.get("format") != _FORMAT:
        raise InputError(f"{path}: not a densehybrid_ros model (format {metadata.get('format')!r})")
    for key, value in (("architecture", card.architecture), ("num_classes", str(card.num_classes))):
        if metadata.get(key) != value:
            raise InputError(f"{path}: {key} is {metadata.get(key)} but its card says {value}; not a pair")
    if card.sha256 is None:
        mend = f"densehybrid info --check {path} --add-digest"
        _log.warning("%s: has no sha256, so that damage to the weights may go unseen; %s adds it", path.stem, mend)
    check_digest(path, card.sha256)
    network = DenseHybrid(build_network(card.architecture, card.num_classes))
    expected = {key: value for key, value in network.state_dict().items() if _is_kept(key)}
    _check_tensors(path, card, tensors, expected)
    network.load_state_dict(tensors, strict=False)
    return LoadedModel(network.eval(), card, path)


def check_output(model: LoadedModel) -> None:
    """Runs a tiny frame on the CPU.

    Raises:
        InputError: Its output is not finite.
    """
    images = torch.rand(1, 3, _TINY, _TINY, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        if not all(_is_finite(maps) for maps in model.network.cpu()(images)):
            raise InputError(f"{model.path}: the network's output is not finite; train or import it again")


def _is_kept(key: str) -> bool:
    return not key.endswith("num_batches_tracked")  # bookkeeping of training, of no use afterwards


def _stored(tensor: Tensor, half: bool) -> Tensor:
    dtype = torch.float16 if half and tensor.ndim == 4 else torch.float32
    return tensor.detach().to("cpu", dtype).contiguous()


def read_weights(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Returns metadata and tensors, as float32, of a safetensors file.

    Raises:
        InputError: It is none.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: truncated or not a safetensors file ({error})") from error


def check_digest(path: Path, digest: str | None) -> None:
    """Raises an InputError where a file has another SHA-256 than its card says, if that says one."""
    if digest is not None and digest != file_digest(path):
        raise InputError(f"{path}: damaged, or not the weights of its card (sha256); copy the file and its card again")


def _check_tensors(path: Path, card: ModelCard, tensors: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for key in expected.keys() | tensors.keys():
        if key not in tensors:
            raise InputError(f"{path}: lacks the tensor {key} of architecture {card.architecture}")
        if key not in expected:
            raise InputError(f"{path}: has the tensor {key}, which architecture {card.architecture} lacks")
        if tensors[key].shape != expected[key].shape:
            shapes = f"{tuple(tensors[key].shape)} instead of {tuple(expected[key].shape)}"
            raise InputError(f"{path}: tensor {key} has shape {shapes}")
        if not _is_finite(tensors[key]):
            raise InputError(f"{path}: tensor {key} holds numbers that are not finite")
        if key.endswith("running_var") and (tensors[key] < 0).any():
            raise InputError(f"{path}: tensor {key} holds variances below 0")


def _is_finite(tensor: Tensor) -> bool:
    return bool(np.isfinite(tensor.numpy()).all())  # NumPy's is quick for the many small ones, whatever else runs
