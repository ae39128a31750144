# SPDX-License-Identifier: Apache-2.0
"""What this machine is, as far as a compiled model depends on it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import inspect
import logging
import platform
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from densehybrid_ros.errors import kind_and_line

_TALKATIVE = (
    "torch_tensorrt",
    "torch_tensorrt [TensorRT Conversion Context]",
    "torch._library.fake_class_registry",
)
"""Loggers that warn, in many lines, of what nothing here uses: plug-ins, methods of a traced engine."""


@functools.cache
def processor() -> dict[str, Any]:
    """Returns the CPU's name and a digest of the instruction sets that Linux gives."""
    fields: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            field, _, value = line.partition(":")
            fields.setdefault(field.strip(), value.strip())
    name = fields.get("model name", fields.get("CPU part", ""))
    flags = " ".join(sorted(fields.get("flags", fields.get("Features", "")).split()))
    digest = hashlib.sha256(flags.encode()).hexdigest()[:12]
    return {
        "device": f"{platform.machine()} {name}".strip(),
        "capability": f"{torch.backends.cpu.get_cpu_capability()} {digest}",
    }


def device_facts(device: torch.device) -> dict[str, Any]:
    """Returns name and capability of a CPU or GPU."""
    if device.type != "cuda":
        return processor()
    properties = torch.cuda.get_device_properties(device)
    return {"device": properties.name, "capability": f"{properties.major}.{properties.minor}"}


def torch_tensorrt() -> Any:
    """Imports and returns Torch-TensorRT, which few machines have."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
    return importlib.import_module("torch_tensorrt")


@functools.cache
def torch_tensorrt_problem() -> str | None:
    """Says why Torch-TensorRT can't be used here; None where it imports."""
    if find_spec("torch_tensorrt") is None:
        return "torch_tensorrt is not installed"
    try:
        torch_tensorrt()
    except Exception as error:  # a missing library, another torch: whatever its import runs into
        return f"torch_tensorrt does not import ({kind_and_line(error)})"
    return None


def version_facts(backend: str) -> dict[str, Any]:
    """Returns the versions that an engine of this backend depends on."""
    facts: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda}
    package = {"tensorrt": "tensorrt", "eager": "triton"}.get(backend)
    if package is not None:
        facts[package] = _versions(package)
    return facts


@functools.cache
def _versions(part: str) -> str:
    """Names and versions of the installed distributions with ``part`` in their name: builds of one carry several."""
    found = {f"{each.metadata['Name']} {each.version}" for each in metadata.distributions()}
    return ", ".join(sorted(name for name in found if part in name.lower()))


def weights_digest(network: nn.Module) -> str:
    """Returns the SHA-256 of all tensors of ``network`` with their names and types."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        values = tensor.detach().cpu().contiguous()
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@functools.cache
def recipe_digest() -> str:
    """Returns the SHA-256 of the modules that turn a network into an engine, those of the fused kernels among them."""
    here = Path(__file__).parent
    modules = [here / "engines.py", here / "folding.py", *sorted((here / "fused").glob("*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in modules)).hexdigest()


def source_digest(network: nn.Module) -> str:
    """Returns the SHA-256 of the modules that define the parts of ``network``, but for PyTorch's own.

    After an update the same weights may be computed with differently.
    """
    modules = {kind.__module__ for part in network.modules() for kind in type(part).__mro__}
    sources = set()
    for name in (name for name in modules if name.partition(".")[0] not in ("builtins", "torch")):
        with contextlib.suppress(OSError, TypeError):  # of a notebook there is no source
            sources.add(inspect.getsource(sys.modules[name]))
    # By their text, not by name: a module that runs as a program has another name.
    return hashlib.sha256("".join(sorted(sources)).encode()).hexdigest()
