# SPDX-License-Identifier: Apache-2.0
"""Compiled engines on disk, each under a key of all that it depends on."""

from __future__ import annotations

import errno
import shutil
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from densehybrid_ros.errors import InputError, kind_and_line
from densehybrid_ros.inference.cache import Cache
from densehybrid_ros.inference.engines import Engine, EngineSpec, Report, build_engine, load_engine
from densehybrid_ros.inference.machine import device_facts, recipe_digest, source_digest, version_facts, weights_digest
from densehybrid_ros.networks import DenseHybrid

_KIND = "engine"
_ENGINE = "{architecture} {weights!s:.8} {width}x{height} {precision}, {backend} for {device}, torch {torch}"
_ROOM_PER_WEIGHT_BYTE = 3  # a TensorRT engine of the light network takes 2.1 bytes of a byte of float32 weights


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

    @cached_property
    def files(self) -> Cache:
        """The files of the engines, among others."""
        return Cache(self.directory)

    @cached_property
    def _model_facts(self) -> dict[str, Any]:
        return {
            "architecture": self.architecture,
            "classes": self.network.num_classes,
            "weights": weights_digest(self.network),
            "source": source_digest(self.network),
            "recipe": recipe_digest(),
            **device_facts(self.device),
        }

    def key(self, spec: EngineSpec) -> dict[str, Any]:
        """Returns all that an engine depends on."""
        size = dict(zip(("height", "width"), spec.size, strict=True))
        asked = {"kind": _KIND, "backend": spec.backend, "precision": spec.precision, "batch": 1}
        return {**asked, **size, **self._model_facts, **version_facts(spec.backend)}

    def find(self, spec: EngineSpec, closed_set: bool = False) -> tuple[Engine | None, str]:
        """Loads an engine; ``closed_set``: see ``load_engine``.

        Returns:
            The engine and "", or None and the reason in a few words.
        """
        entry, reason = self.files.find(self.key(spec))
        if entry is None:
            return None, reason
        try:
            engine = load_engine(entry.path, self.network, spec, self.device, closed_set)
        except Exception as error:  # whatever the libraries raise on a file that is whole but not theirs
            return None, f"{entry.path}: does not load ({type(error).__name__})"
        return replace(engine, facts=entry.facts), ""

    def build(self, spec: EngineSpec, report: Report = lambda text: None) -> Engine:
        """Returns the engine of ``spec``, built now where the cache has none that loads.

        Args:
            spec: What to compile.
            report: Is told each step.

        Raises:
            InputError: It can't be built here, or not be stored.
        """
        engine, _ = self.find(spec)
        if engine is not None:
            return engine
        key = self.key(spec)
        useless, _ = self.files.find(key)
        suffix = ".tiles" if spec.backend == "eager" else ".pt2"
        try:
            self.files.build(key, suffix, partial(self._make, spec, report), report, useless)
        except OSError as error:
            raise InputError(f"{error.filename or self.files.directory}: {error.strerror or error}") from error
        engine, reason = self.find(spec)
        if engine is None:
            raise InputError(reason)
        return engine

    def _make(self, spec: EngineSpec, report: Report, path: Path) -> dict[str, Any]:
        need = _ROOM_PER_WEIGHT_BYTE * sum(tensor.nbytes for tensor in self.network.state_dict().values())
        if shutil.disk_usage(path.parent).free < need:  # PyTorch's writer ends the process where the room runs out
            raise OSError(errno.ENOSPC, f"less than {need / 1e6:.0f} MB of free space", str(self.files.directory))
        try:
            return build_engine(self.network, spec, self.device, path, report)
        except (InputError, OSError):
            raise
        except Exception as error:
            raise InputError(
                f"backend {spec.backend!r}: compiling failed ({kind_and_line(error)}); use eager"
            ) from error


def list_engines(directory: Path | None = None) -> list[str]:
    """Describes the engines in a cache, one line each, and says which were built on another machine or version."""
    lines = []
    for entry in Cache(directory).entries():
        key = entry.key
        if key.get("kind") != _KIND:
            continue
        known = defaultdict(lambda: "?", key)  # another version of this package may have written fewer facts
        what = _ENGINE.format_map(known) + (f", {key['tensorrt']}" if key.get("tensorrt") else "")
        stale = "" if _is_of_here(key) else ", of another machine or version"
        lines.append(f"{what}, {entry.path.stat().st_size / 1e6:.1f} MB{stale}")
    return lines


def _is_of_here(key: dict[str, Any]) -> bool:
    devices = [torch.device("cpu"), *(torch.device("cuda", index) for index in range(torch.cuda.device_count()))]
    common = {**version_facts(str(key.get("backend"))), "recipe": recipe_digest()}
    return any({**common, **device_facts(device)}.items() <= key.items() for device in devices)
