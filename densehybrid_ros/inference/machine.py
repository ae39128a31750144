# SPDX-License-Identifier: Apache-2.0
"""What this machine is, as far as a compiled model depends on it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import inspect
import logging
import pkgutil
import platform
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

_TALKATIVE = (
    "torch_tensorrt",
    "torch_tensorrt [TensorRT Conversion Context]",
    "torch._library.fake_class_registry",
)
"""Loggers that warn, in many lines, of what nothing here uses: plug-ins, methods of a traced engine."""

_RECIPE = ("engines", "folding")

_TENSORRT_PACKAGES = ("-rtx-cu13-libs", "-rtx-cu12-libs", "-rtx", "-cu13-libs", "-cu12-libs", "")


@functools.cache
def processor() -> dict[str, Any]:
    """Returns the CPU's name and a digest of its instruction sets."""
    name, flags = _processor_text()
    digest = hashlib.sha256(flags.encode()).hexdigest()[:12]
    return {"device": name, "capability": f"{torch.backends.cpu.get_cpu_capability()} {digest}"}


def _processor_text() -> tuple[str, str]:
    """Returns the name and the sorted instruction sets that Linux gives."""
    name, flags = platform.machine(), ""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            field, _, value = line.partition(":")
            if field.strip() in ("model name", "CPU part") and name == platform.machine():
                name = f"{name} {value.strip()}"
            if field.strip() in ("flags", "Features"):
                flags = " ".join(sorted(value.split()))
                break
    except OSError:
        pass
    return name, flags


def device_facts(device: torch.device) -> dict[str, Any]:
    """Returns name and capability of a CPU or GPU."""
    if device.type != "cuda":
        return processor()
    properties = torch.cuda.get_device_properties(device)
    return {"device": properties.name, "capability": f"{properties.major}.{properties.minor}"}


def version_of(*packages: str) -> str | None:
    """Returns name and version of the first of these distributions that is installed."""
    for package in packages:
        try:
            return f"{package} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            continue
    return None


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
        text = str(error).strip().splitlines()
        return f"torch_tensorrt does not import ({type(error).__name__}: {text[0] if text else ''})"
    return None


def version_facts(backend: str) -> dict[str, Any]:
    """Returns the versions that an engine of this backend depends on."""
    facts: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda}
    facts["torch_tensorrt"] = facts["tensorrt"] = None
    if backend == "tensorrt":
        facts["torch_tensorrt"] = version_of("torch-tensorrt-rtx", "torch-tensorrt")
        facts["tensorrt"] = _tensorrt_version()
    if backend == "eager":
        facts["triton"] = version_of("triton", "pytorch-triton")
        facts["kernels"] = _kernels_digest()
    return facts


@functools.cache
def _kernels_digest() -> str:
    """Returns the SHA-256 of the fused kernels' modules: after an update other block sizes may be better."""
    digest = hashlib.sha256()
    for path in sorted((Path(__file__).parent / "fused").glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _tensorrt_version() -> str | None:
    # As far as pip knows it: one of these carries the libraries. Else what the imported package says of itself.
    found = version_of(*(f"tensorrt{kind}" for kind in _TENSORRT_PACKAGES))
    if found is None and "torch_tensorrt" in sys.modules:
        version = getattr(sys.modules.get("tensorrt"), "__version__", None)
        found = version and f"tensorrt {version}"
    return found


def weights_digest(network: nn.Module) -> str:
    """Returns the SHA-256 of all tensors of ``network`` with their names and types."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        values = tensor.detach().cpu().contiguous()
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def recipe_digest() -> str:
    """Returns the SHA-256 of the modules that turn a network into an engine."""
    digest = hashlib.sha256()
    for name in _RECIPE:
        digest.update(pkgutil.get_data(__package__, f"{name}.py") or b"")
    return digest.hexdigest()


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
