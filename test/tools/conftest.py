# SPDX-License-Identifier: Apache-2.0
"""Runs the files of tools/ in this process."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "benchmarks"))

from running import run_benchmark


@pytest.fixture
def benchmark() -> Callable[..., int]:
    """Returns a function that runs ``tools/benchmarks/NAME.py ARGUMENTS`` and returns its exit status."""

    def run(name: str, *arguments: object) -> int:
        module = importlib.import_module(name)
        return run_benchmark(module.configure, module.run, [str(word) for word in arguments])

    return run
