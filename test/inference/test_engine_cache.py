# SPDX-License-Identifier: Apache-2.0
"""Compiled engines: equal to the network, keyed by all they depend on, and safe from kills, damage and bad loads."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_network import SIZE, tiny_model

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.engine_cache import EngineCache, list_engines
from densehybrid_ros.inference.engines import EngineSpec, check_engine, check_precision, eager_engine, fatal_problem

CPU = torch.device("cpu")
SPEC = EngineSpec("inductor", SIZE, "fp32")


@pytest.fixture
def cache(compiled: Path, tmp_path: Path) -> EngineCache:
    """A copy of the cache with the engine, to be damaged."""
    directory = tmp_path / "cache"
    shutil.copytree(compiled, directory)
    return EngineCache(tiny_model(), "tiny", CPU, directory)


def test_other_weights_code_sizes_precisions_and_versions_have_other_engines(cache: EngineCache, monkeypatch) -> None:
    engine, problem = cache.find(SPEC)
    assert engine is not None, problem
    assert engine.facts["score_error_max"] < 1e-4  # its build has compared it with the network
    for other in (EngineSpec("inductor", (48, 32), "fp32"), EngineSpec("inductor", SIZE, "bf16")):
        assert cache.find(other) == (None, "none in the cache")
    directory = cache.files.directory
    assert EngineCache(tiny_model(seed=4), "tiny", CPU, directory).find(SPEC)[0] is None
    assert EngineCache(tiny_model(), "other", CPU, directory).find(SPEC)[0] is None
    for changed in ("densehybrid_ros.inference.engine_cache.recipe_digest", "inspect.getsource"):
        with monkeypatch.context() as patch:
            patch.setattr(changed, lambda *_: "another code")
            assert EngineCache(tiny_model(), "tiny", CPU, directory).find(SPEC)[0] is None
    assert "another machine" not in list_engines(directory)[0]
    monkeypatch.setattr(torch, "__version__", "9.9")
    assert cache.find(SPEC)[0] is None
    assert "another machine or version" in list_engines(directory)[0]


def test_an_engine_of_another_version_of_the_package_is_listed_as_such(tmp_path: Path) -> None:
    files = EngineCache(tiny_model(), "tiny", CPU, tmp_path).files
    older = {"kind": "engine", "backend": "inductor", "height": 64, "width": 128}
    files.build(older, ".pt2", lambda path: {"size": path.write_bytes(b"engine")})
    (line,) = list_engines(tmp_path)
    assert "128x64" in line
    assert "of another machine or version" in line


def test_a_disk_that_is_full_is_seen_before_the_build(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("densehybrid_ros.inference.engine_cache._ROOM_PER_WEIGHT_BYTE", 1e15)
    with pytest.raises(InputError, match=r"cache: less than \d+ MB of free space"):
        EngineCache(tiny_model(), "tiny", CPU, tmp_path / "cache").build(SPEC)
    assert not list((tmp_path / "cache").glob("*.pt2"))


def test_a_file_that_is_whole_but_no_engine_is_not_taken(tmp_path: Path) -> None:
    cache = EngineCache(tiny_model(), "tiny", CPU, tmp_path)
    cache.files.build(cache.key(SPEC), ".pt2", lambda path: {"size": path.write_bytes(b"PK\x03\x04 nonsense")})
    engine, problem = cache.find(SPEC)
    assert engine is None
    assert "does not load" in problem


def test_a_killed_build_leaves_no_entry_and_the_next_one_succeeds(compiled: Path, tmp_path: Path) -> None:
    (tmp_path / "wait").touch()
    program = [sys.executable, str(Path(__file__).with_name("tiny_network.py"))]
    engine = next(compiled.glob("*.pt2"))
    options = ["--cache", str(tmp_path), "--model", str(engine), "--size", f"{SIZE[1]}x{SIZE[0]}"]
    with subprocess.Popen([*program, *options], stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert "waiting\n" in iter(process.stdout.readline, "")
        assert list(tmp_path.glob(".*/artifact.pt2"))  # the engine itself is there, in the build's own folder
        os.killpg(process.pid, signal.SIGKILL)
    cache = EngineCache(tiny_model(), "tiny", CPU, tmp_path)
    assert cache.find(SPEC) == (None, "none in the cache")
    assert list_engines(tmp_path) == []
    cache.files.build(cache.key(SPEC), ".pt2", lambda path: {"file": str(shutil.copy(engine, path))})
    assert cache.find(SPEC)[0] is not None
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("precision", "backend", "device", "message"),
    [
        ("fp16", "inductor", "cpu", "use bf16 or fp32"),
        ("bf16", "tensorrt", "cuda", "use fp16 or fp32"),
        ("fp4", "inductor", "cpu", "choose one of fp32, fp16, bf16$"),
    ],
)
def test_precisions_that_do_not_exist_are_refused(precision, backend, device, message) -> None:
    with pytest.raises(InputError, match=message):
        check_precision(precision, backend, torch.device(device))


def test_a_build_without_a_compiler_says_so(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(InputError, match=r"no C\+\+ compiler"):
        EngineCache(tiny_model(), "tiny", CPU, tmp_path / "cache").build(SPEC)


def test_an_engine_that_is_not_equal_to_the_network_is_not_kept() -> None:
    other = eager_engine(tiny_model(seed=4), "fp32", CPU)
    with pytest.raises(InputError, match=r"off by .* not kept"):
        check_engine(tiny_model(), other, SPEC, CPU)
    assert check_engine(tiny_model(), eager_engine(tiny_model(), "fp32", CPU), SPEC, CPU)["score_error_max"] == 0


def test_how_far_off_an_engine_may_be_is_measured_by_how_far_the_score_varies() -> None:
    """A posterior that weighs more makes the score vary more, and its rounding errors as well."""
    model, rounded = tiny_model(), EngineSpec("eager", SIZE, "bf16")
    with torch.no_grad():
        for parameter in model.posterior_head.conv.parameters():
            parameter.mul_(64)
    facts = check_engine(model, eager_engine(model, "bf16", CPU), rounded, CPU)
    assert facts["score_error_max"] > 0.5


def test_a_process_that_dies_of_loading_an_engine_is_named_with_its_signal(tmp_path: Path) -> None:
    problem = fatal_problem(tmp_path / "engine.pt2", 0, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert problem is not None
    assert "ends with SIGSEGV" in problem
    # An error is left to whoever loads the file; and the fixture `compiled` shows that a good one has no problem.
    assert fatal_problem(tmp_path / "engine.pt2", 0, "raise OSError") is None
