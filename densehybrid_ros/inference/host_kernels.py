# SPDX-License-Identifier: Apache-2.0
"""The pass after the network on a CPU, in C++ (host_kernels.cpp): compiled once on this machine, and cached.

Where there is no compiler, ``dense_output.dense_output`` computes the same, slower.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from densehybrid_ros.confidence import Confidence
from densehybrid_ros.errors import InputError
from densehybrid_ros.files import file_digest
from densehybrid_ros.inference.cache import Cache, usable_folder
from densehybrid_ros.inference.dense_output import DenseOutput
from densehybrid_ros.inference.input_policy import Sampling
from densehybrid_ros.inference.machine import processor
from densehybrid_ros.networks import HybridOutput
from densehybrid_ros.processes import ends_with_this_process

_SOURCE = Path(__file__).with_name("host_kernels.cpp")
# No -ffast-math: linked into a library, it would flush denormals in the whole process.
_FLAGS = ("-O3", "-march=native", "-std=c++17", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
_COMPILE_SECONDS = 120


def compiler() -> str | None:
    """Returns the path of a C++ compiler ($CXX, c++, g++ or clang++), or None where there is none."""
    names = [os.environ.get("CXX", ""), "c++", "g++", "clang++"]
    return next((path for name in names if name and (path := shutil.which(name))), None)


class HostKernels:
    """The compiled library."""

    def __init__(self, library: Path) -> None:
        """Loads the library; raises an OSError where it can't."""
        self._function = ctypes.CDLL(str(library)).dense_output_rows
        pointer, integer, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
        self._function.argtypes = [pointer] * 2 + [integer] * 6 + [number] * 7 + [pointer] * 5
        self._function.restype = None
        self._threads = torch.get_num_threads()
        # Threads of Python's: a call through ctypes holds no lock, and a second OpenMP would fight with PyTorch's.
        self._pool = ThreadPoolExecutor(max(1, self._threads - 1), thread_name_prefix="dense_output")

    def write_dense_output(
        self,
        output: HybridOutput,
        sampling: Sampling,
        threshold: float,
        confidence: Confidence,
        result: DenseOutput,
    ) -> None:
        """Fills ``result``, contiguous tensors [H, W], from [1, K, h, w] and [1, 2, h, w] on the CPU."""
        result.not_finite.zero_()  # threads set it
        logits, posterior = (maps.float().contiguous() for maps in output)
        rows, columns = result.semantic.shape
        shape = (logits.shape[1], logits.shape[2], logits.shape[3], columns)
        targets = [tensor.data_ptr() for tensor in result]

        def make(first: int, end: int) -> None:
            levels = (threshold, confidence.midpoint, confidence.scale)
            maps = (logits.data_ptr(), posterior.data_ptr())
            self._function(*maps, *shape, first, end, *sampling, *levels, *targets)

        edges = [rows * part // self._threads for part in range(self._threads + 1)]
        others = [self._pool.submit(make, *edges[part : part + 2]) for part in range(1, self._threads)]
        make(*edges[:2])
        for other in others:
            other.result()


@functools.lru_cache(maxsize=4)
def host_kernels(directory: Path) -> tuple[HostKernels | None, str]:
    """Compiles (about a second, once) and loads the kernels, which are kept in this cache directory.

    Returns:
        The kernels and "", or None and the reason in one line.
    """
    program = compiler()
    if program is None:
        return None, "no C++ compiler (c++, g++ or clang++) on this machine"
    try:
        key = _key(program)
        entry, _ = Cache(directory).find(key)
        if entry is None:
            entry = Cache(usable_folder(directory)).build(key, ".so", lambda path: _compile(program, path))
        return HostKernels(entry.path), ""
    except (InputError, OSError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", None) or str(error)
        return None, f"{program} failed: {detail.strip().splitlines()[0] if detail.strip() else error}"


def _key(program: str) -> dict[str, Any]:
    version = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
    flags = " ".join(_FLAGS)
    return {"kind": "host kernels", "source": file_digest(_SOURCE), "flags": flags, "compiler": version, **processor()}


def _compile(program: str, path: Path) -> dict[str, Any]:
    command = ends_with_this_process([program, *_FLAGS, str(_SOURCE), "-o", str(path)])
    subprocess.run(command, capture_output=True, text=True, timeout=_COMPILE_SECONDS, check=True)
    return {}
