# SPDX-License-Identifier: Apache-2.0
"""The choice of a backend: what is in the cache, what may be built, and the reason that people read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tiny_network import SIZE, tiny_model

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.backends import EngineChoice, backend_to_build
from densehybrid_ros.inference.engine_cache import EngineCache
from densehybrid_ros.inference.engines import EngineSpec, fused_engine
from densehybrid_ros.inference.fused import fused_problem
from densehybrid_ros.inference.segmenter import Segmenter
from densehybrid_ros.networks import LoadedModel

CPU = torch.device("cpu")


def choice(directory: Path, backend: str = "auto", **options) -> EngineChoice:
    return EngineChoice(EngineCache(tiny_model(), "tiny", CPU, directory), backend, **options)


def test_auto_takes_a_compiled_engine_at_once(compiled: Path) -> None:
    engine = choice(compiled).choose(SIZE)
    assert (engine.backend, engine.precision, engine.size) == ("inductor", "fp32", SIZE)
    assert "compiled engine" in engine.reason


def test_auto_on_a_cpu_without_an_engine_is_eager_and_says_why(tmp_path: Path) -> None:
    engine = choice(tmp_path).choose(SIZE)
    assert (engine.backend, engine.size) == ("eager", None)
    assert "no inductor engine for 48x32: none in the cache" in engine.reason
    assert "densehybrid compile" in engine.reason


def test_an_engine_of_another_size_is_not_taken(compiled: Path) -> None:
    assert choice(compiled).choose((64, 64)).backend == "eager"


def test_eager_stays_eager(compiled: Path) -> None:
    engine = choice(compiled, "eager").choose(SIZE)
    assert (engine.backend, engine.reason) == ("eager", "as asked")


def test_inductor_starts_at_once_on_eager_if_it_must(tmp_path: Path) -> None:
    assert choice(tmp_path, "inductor", at_once=True).choose(SIZE).backend == "eager"
    assert choice(tmp_path, "inductor").choose(SIZE).backend == "inductor"


def test_a_build_that_fails_leaves_auto_on_eager_and_inductor_with_an_error(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    engine = choice(tmp_path, build=True).choose(SIZE)
    assert engine.backend == "eager"
    assert "no C++ compiler" in engine.reason
    for build in (True, False):
        with pytest.raises(InputError, match=r"no C\+\+ compiler"):
            choice(tmp_path, "inductor", build=build).choose(SIZE)


def test_fused_kernels_that_are_not_compiled_yet_do_not_hold_up_a_node(tmp_path: Path, monkeypatch) -> None:
    made = []
    monkeypatch.setattr(EngineChoice, "_fused_engine", lambda self, reason: made.append(reason))
    for at_once in (True, False):
        chosen = choice(tmp_path, "auto", at_once=at_once)
        monkeypatch.setattr(chosen, "_fused", True)
        engine = chosen.choose(SIZE)
        assert len(made) == int(not at_once)
        if at_once:
            assert engine.backend == "eager"
            assert "makes fused kernels ready" in engine.reason


def test_fused_kernels_are_for_gpus() -> None:
    assert fused_problem(tiny_model(), CPU) == "fused kernels need a GPU"
    with pytest.raises(InputError, match="fused kernels need a GPU"):
        fused_engine(tiny_model(), CPU)


def test_what_auto_would_compile() -> None:
    assert backend_to_build("auto", tiny_model(), CPU) == "inductor"
    with pytest.raises(InputError, match="nothing to compile"):
        backend_to_build("eager", tiny_model(), CPU)
    with pytest.raises(InputError, match="needs an NVIDIA GPU"):
        backend_to_build("tensorrt", tiny_model(), CPU)


def test_the_pipeline_says_what_it_took_and_why(tiny: LoadedModel, compiled: Path) -> None:
    segmenter = Segmenter(tiny, device="cpu", cache=compiled)
    assert (segmenter.backend, segmenter.precision) == ("inductor", "fp32")
    assert segmenter.describe() == "tiny (tiny), inductor fp32 on CPU"
    assert segmenter.reason.startswith("compiled engine")
    assert "as asked" in Segmenter(tiny, "eager", "cpu", cache=compiled).reason


def test_precision_is_checked(tiny: LoadedModel, tmp_path: Path) -> None:
    assert Segmenter(tiny, "eager", "cpu", precision="bf16", cache=tmp_path).precision == "bf16"
    with pytest.raises(InputError, match="fp16"):
        Segmenter(tiny, "eager", "cpu", precision="fp16", cache=tmp_path)


def test_auto_takes_the_fastest_precision_that_was_compiled(compiled: Path, tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    shutil.copytree(compiled, directory)
    cache = EngineCache(tiny_model(), "tiny", CPU, directory)
    engine_file = next(compiled.glob("*.pt2"))

    def copy(path: Path) -> dict:
        shutil.copy(engine_file, path)
        return {}

    cache.files.build(cache.key(EngineSpec("inductor", SIZE, "bf16")), ".pt2", copy)
    assert choice(directory).choose(SIZE).precision == "bf16"
    assert choice(directory, precision="fp32").choose(SIZE).precision == "fp32"
