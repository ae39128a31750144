# SPDX-License-Identifier: Apache-2.0
"""Compiled engines on disk, each under a key of all that it depends on."""

from __future__ import annotations

import errno
import shutil
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.artifact_cache import ArtifactCache, Entry
from densehybrid_ros.inference.engines import (
    Engine,
    EngineSpec,
    Report,
    build_engine,
    fused_engine,
    load_engine,
    tune_tiles,
)
from densehybrid_ros.inference.fused.tiles import Tiles
from densehybrid_ros.inference.machine import device_facts, recipe_digest, source_digest, version_facts, weights_digest
from densehybrid_ros.networks import DenseHybrid

_KIND = "engine"
_ROOM_PER_WEIGHT_BYTE = 3  # a TensorRT engine of the light network takes 2.1 bytes of a byte of float32 weights
_DESCRIBING = (
    "architecture",
    "weights",
    "height",
    "width",
    "precision",
    "closed_set",
    "tuned",
    "backend",
    "device",
    "torch",
)


@dataclass
class EngineCache:
    """The engines of one model on one device.

    Attributes:
        network: float32 on the CPU; never changed.
        architecture: Its name.
        device: Where the engines run.
        directory: Where they are kept; None: the user's cache directory.
    """

    network: DenseHybrid
    architecture: str
    device: torch.device
    directory: Path | None = None
    files: ArtifactCache = field(init=False)

    def __post_init__(self) -> None:
        self.files = ArtifactCache(self.directory)

    @cached_property
    def _model_facts(self) -> dict[str, Any]:
        return {
            "architecture": self.architecture,
            "classes": self.network.num_classes,
            "weights": weights_digest(self.network),
            "source": source_digest(self.network),
            "recipe": recipe_digest(),
        }

    def key(self, spec: EngineSpec) -> dict[str, Any]:
        """Returns all that an engine depends on."""
        return {
            "kind": _KIND,
            "backend": spec.backend,
            "precision": spec.precision,
            "height": spec.size[0],
            "width": spec.size[1],
            "batch": 1,
            # Block sizes are the same without the second head, which has none to choose.
            "closed_set": spec.closed_set and spec.backend != "eager",
            "tuned": spec.tuned,
            **self._model_facts,
            **version_facts(spec.backend),
            **device_facts(self.device),
        }

    def find(self, spec: EngineSpec) -> tuple[Engine | None, str]:
        """Loads an engine.

        Returns:
            The engine and "", or None and the reason in a few words.
        """
        entry, reason = self.files.find(self.key(spec))
        if entry is None:
            return None, reason
        try:
            return self._load(entry, spec), ""
        except Exception as error:  # whatever the libraries raise on a file that is whole but not theirs
            return None, f"{entry.path}: does not load ({type(error).__name__})"

    def build(self, spec: EngineSpec, report: Report = lambda text: None) -> Engine:
        """Returns the engine of ``spec``, built now where the cache has none that loads.

        Args:
            spec: What to compile.
            report: Is told each step.

        Raises:
            InputError: It can't be built here.
        """
        engine, _ = self.find(spec)
        if engine is not None:
            return engine
        key = self.key(spec)
        whole, _ = self.files.find(key)
        useless = whole.path if whole is not None else None
        suffix = ".tiles" if spec.backend == "eager" else ".pt2"
        make = partial(self._make, spec, report)
        try:
            built = self.files.build(key, suffix, make, report, useless)
        except OSError as error:  # of a temporary folder: without the cache it would have gone
            raise InputError(f"{error.filename or 'temporary folder'}: {error.strerror or error}") from error
        engine = self._load(built.entry, spec)
        return replace(engine, reason=f"{engine.reason}; {built.note}") if built.note else engine

    def _make(self, spec: EngineSpec, report: Report, path: Path) -> dict[str, Any]:
        need = _ROOM_PER_WEIGHT_BYTE * sum(tensor.nbytes for tensor in self.network.state_dict().values())
        if shutil.disk_usage(path.parent).free < need:  # PyTorch's writer ends the process where the room runs out
            raise OSError(errno.ENOSPC, f"less than {need / 1e6:.0f} MB of free space", str(path.parent))
        try:
            if spec.backend == "eager":
                return tune_tiles(self.network, spec, self.device, path, report)
            return build_engine(self.network, spec, self.device, path, report)
        except (InputError, KeyboardInterrupt, OSError):
            raise
        except Exception as error:
            text = (str(error).strip() or "no message").splitlines()[0]
            raise InputError(
                f"backend {spec.backend!r}: compiling failed ({type(error).__name__}: {text}); use eager"
            ) from error

    def _load(self, entry: Entry, spec: EngineSpec) -> Engine:
        if spec.backend == "eager":
            reason = f"fused kernels with the block sizes of {entry.path.name}"
            engine = fused_engine(self.network, self.device, Tiles.read(entry.path), reason, spec.closed_set)
            return replace(engine, size=spec.size, facts=entry.facts)
        return load_engine(
            entry.path, self.network, spec, self.device, f"compiled engine {entry.path.name}", entry.facts
        )


def list_engines(directory: Path | None = None) -> list[str]:
    """Describes the engines in a cache, one line each, and says which were built on another machine or version."""
    found = [entry for entry in ArtifactCache(directory).entries() if entry.key.get("kind") == _KIND]
    return [_described(entry) for entry in found]


def _described(entry: Entry) -> str:
    # Other versions of this package may have written fewer facts, or others.
    key = {**dict.fromkeys(_DESCRIBING, "?"), **entry.key}
    head = "closed-set " if key["closed_set"] is True else ""
    precision = f"{key['precision']} tuned" if key["tuned"] is True else key["precision"]
    text = f"{head}{key['architecture']} {str(key['weights'])[:8]} {key['width']}x{key['height']} {precision}"
    versions = ", ".join(str(key[name]) for name in ("torch_tensorrt", "tensorrt") if key.get(name))
    on = f"{key['device']}, torch {key['torch']}{', ' + versions if versions else ''}"
    stale = "" if _is_of_here(key) else ", of another machine or version"
    return f"{text}, {key['backend']} for {on}, {entry.path.stat().st_size / 1e6:.1f} MB{stale}"


def _is_of_here(key: dict[str, Any]) -> bool:
    devices = [torch.device("cpu"), *(torch.device("cuda", index) for index in range(torch.cuda.device_count()))]
    common = {**version_facts(str(key["backend"])), "recipe": recipe_digest()}
    here = [{**common, **device_facts(device)} for device in devices]
    return any(all(key.get(name) == value for name, value in facts.items()) for facts in here)
