# SPDX-License-Identifier: Apache-2.0
"""A process that loads an engine may die; the one that asks for it lives on and says how."""

from __future__ import annotations

from pathlib import Path

from densehybrid_ros.inference.trial_load import fatal_problem


def test_an_engine_that_loads_has_no_problem(compiled: Path) -> None:
    assert fatal_problem(next(compiled.glob("*.pt2")), -1) is None


def test_an_error_is_left_to_whoever_loads_the_file(tmp_path: Path) -> None:
    (tmp_path / "engine.pt2").write_bytes(b"no engine")
    assert fatal_problem(tmp_path / "engine.pt2", -1) is None


def test_a_process_that_dies_is_named_with_its_signal(tmp_path: Path) -> None:
    problem = fatal_problem(tmp_path / "engine.pt2", 0, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert problem is not None
    assert "ends with SIGSEGV" in problem
