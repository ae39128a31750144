# SPDX-License-Identifier: Apache-2.0
"""Saving and loading flows: NAME.safetensors beside NAME.yaml, which says what it is and where it comes from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from densehybrid_ros.errors import InputError
from densehybrid_ros.files import file_digest, write_together
from densehybrid_ros.networks.dense_flow.config import FLOWS
from densehybrid_ros.networks.dense_flow.flow import DenseFlow

_FORMAT = "densehybrid_ros-flow-1"


@dataclass
class LoadedFlow:
    """A flow with what its file says about it.

    Attributes:
        flow: In evaluation mode, float32.
        architecture: Key of ``FLOWS``.
        details: The card: data, terms, training, figures.
    """

    flow: DenseFlow
    architecture: str
    details: dict[str, Any]


def save_flow(path: Path, flow: DenseFlow, architecture: str, details: dict[str, Any]) -> None:
    """Writes weights (float32: the inverse needs them exact) and card beside each other, both or neither."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in flow.state_dict().items()}
    weights = save(tensors, {"format": _FORMAT, "architecture": architecture})
    digest = hashlib.sha256(weights).hexdigest()
    card = {"name": path.stem, "architecture": architecture, "sha256": digest, **details}
    text = yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=100)
    write_together({path: weights, path.with_suffix(".yaml"): text.encode()})


def load_flow(path: str | Path, device: str | torch.device = "cpu") -> LoadedFlow:
    """Loads a flow.

    Raises:
        InputError: The file is missing or damaged, is no flow, or does not fit its architecture.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"flow {path}: no such file; `densehybrid train` with a flow configuration makes one")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: truncated or not a safetensors file ({error})") from error
    architecture = metadata.get("architecture", "")
    if metadata.get("format") != _FORMAT or architecture not in FLOWS:
        raise InputError(f"{path}: not a flow of densehybrid_ros (format {metadata.get('format')!r}, {architecture!r})")
    flow = DenseFlow(FLOWS[architecture])
    try:
        flow.load_state_dict(tensors)
    except RuntimeError as error:
        fault = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: does not fit {architecture}: {fault}") from error
    card = path.with_suffix(".yaml")
    try:
        details = yaml.safe_load(card.read_text(encoding="utf-8")) if card.is_file() else {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{card}: not valid YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(details or {}, dict):
        raise InputError(f"{card}: must be a YAML mapping")
    if details and details.get("sha256") not in (None, file_digest(path)):
        raise InputError(f"{path}: damaged, or not the weights of its card (sha256); copy the file and its card again")
    return LoadedFlow(flow.to(device).eval(), architecture, details or {})
