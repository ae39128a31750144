"""Compiled engines on disk, each under a key of all that it depends on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.artifact_cache import ArtifactCache, Entry
from densehybrid_ros.inference.engines import Engine, EngineSpec, Report, build_engine, load_engine
from densehybrid_ros.inference.machine import device_facts, source_digest, version_facts, weights_digest
from densehybrid_ros.networks import DenseHybrid

_KIND = "engine"


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
            "closed_set": spec.closed_set,
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

        Raises:
            InputError: It can't be built here.
        """
        engine, _ = self.find(spec)
        if engine is not None:
            return engine
        key = self.key(spec)
        whole, _ = self.files.find(key)
        useless = whole.path if whole is not None else None
        built = self.files.build(key, ".pt2", lambda path: self._make(spec, path, report), report, useless)
        engine = self._load(built.entry, spec)
        return replace(engine, reason=f"{engine.reason}; {built.note}") if built.note else engine

    def _make(self, spec: EngineSpec, path: Path, report: Report) -> dict[str, Any]:
        try:
            return build_engine(self.network, spec, self.device, path, report)
        except (InputError, KeyboardInterrupt, OSError):
            raise
        except Exception as error:
            text = (str(error).strip() or "no message").splitlines()[0]
            raise InputError(
                f"backend {spec.backend!r}: compiling failed ({type(error).__name__}: {text}); use eager"
            ) from error

    def _load(self, entry: Entry, spec: EngineSpec) -> Engine:
        return load_engine(entry.path, spec, self.device, f"compiled engine {entry.path.name}", entry.facts)


def list_engines(directory: Path | None = None) -> list[str]:
    """Describes the engines in a cache, one line each, and says which were built on another machine or version."""
    lines = []
    for entry in ArtifactCache(directory).entries():
        key = entry.key
        if key.get("kind") != _KIND:
            continue
        size = entry.path.stat().st_size / 1e6
        head = "closed-set " if key["closed_set"] else ""
        precision = f"{key['precision']} tuned" if key["tuned"] else key["precision"]
        text = f"{head}{key['architecture']} {key['weights'][:8]} {key['height']}x{key['width']} {precision}"
        versions = ", ".join(str(key[name]) for name in ("torch_tensorrt", "tensorrt") if key.get(name))
        stale = "" if _is_of_here(key) else ", of another machine or version"
        on = f"{key['device']}, torch {key['torch']}{', ' + versions if versions else ''}"
        lines.append(f"{text}, {key['backend']} for {on}, {size:.1f} MB{stale}")
    return lines


def _is_of_here(key: dict[str, Any]) -> bool:
    devices = [torch.device("cpu"), *(torch.device("cuda", index) for index in range(torch.cuda.device_count()))]
    here = [{**version_facts(str(key["backend"])), **device_facts(device)} for device in devices]
    return any(all(key.get(name) == value for name, value in facts.items()) for facts in here)
