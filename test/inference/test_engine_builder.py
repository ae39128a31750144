# SPDX-License-Identifier: Apache-2.0
"""Building beside the frames: progress, the swap between two frames, failure and cancelling, with real processes."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_network import SIZE, tiny_model

from densehybrid_ros.inference.engine_builder import BackgroundBuild
from densehybrid_ros.inference.engine_cache import EngineCache
from densehybrid_ros.inference.engines import EngineSpec
from densehybrid_ros.inference.segmenter import Segmenter
from densehybrid_ros.networks import LoadedModel

SPEC = EngineSpec("inductor", SIZE, "fp32")
PROGRAM = [sys.executable, str(Path(__file__).with_name("tiny_network.py"))]
LONG = 120  # seconds; only a hang lasts as long


def build(directory: Path, model: Path) -> BackgroundBuild:
    return BackgroundBuild(EngineCache(tiny_model(), "tiny", torch.device("cpu"), directory), SPEC, model, PROGRAM)


def test_frames_go_on_and_the_engine_is_swapped_in(tiny: LoadedModel, compiled: Path, tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    directory.mkdir()
    (directory / "slow").touch()
    segmenter = Segmenter(tiny, device="cpu", cache=directory, at_once=True)
    image = np.random.default_rng(1).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    first = segmenter(image, -3.0)
    assert segmenter.backend == "eager"
    work = build(directory, next(compiled.glob("*.pt2")))
    assert not work.swap_into(segmenter.swap)
    assert work.result() is None
    assert work.progress().startswith("building the inductor fp32 engine for 48x32")
    assert work.wait(LONG)
    assert not work.error
    assert work.progress().startswith("built the inductor fp32 engine for 48x32 in")
    assert segmenter.backend == "eager"  # until the worker asks
    assert work.swap_into(segmenter.swap)
    assert not work.swap_into(segmenter.swap)
    second = segmenter(image, -3.0)
    assert segmenter.backend == "inductor"
    np.testing.assert_allclose(second.anomaly_score, first.anomaly_score, atol=1e-3)


def test_a_cache_that_cannot_be_written_to_is_gone_round(tiny: LoadedModel, compiled: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    work = build(tmp_path / "file" / "cache", next(compiled.glob("*.pt2")))
    assert work.wait(LONG)
    assert work.result() is not None, work.error


def test_a_failed_build_says_why(tmp_path: Path) -> None:
    work = build(tmp_path, tmp_path / "missing")
    assert work.wait(LONG)
    assert work.result() is None
    assert work.error == "this build is broken"
    assert "failed after" in work.progress()


def test_cancelling_ends_the_process(compiled: Path, tmp_path: Path) -> None:
    (tmp_path / "wait").touch()
    work = build(tmp_path, next(compiled.glob("*.pt2")))
    deadline = time.monotonic() + LONG
    while "waiting" not in work.progress():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    work.cancel()
    assert work.wait(LONG)
    assert work.result() is None
    assert work.error


def test_nothing_is_built_where_an_engine_is_there_or_eager_was_asked_for(tiny: LoadedModel, compiled: Path) -> None:
    assert Segmenter(tiny, device="cpu", cache=compiled).start_build(*SIZE) is None
    assert Segmenter(tiny, "eager", "cpu", cache=compiled).start_build(64, 64) is None


def test_the_pipelines_build_runs_the_command(tiny: LoadedModel, tmp_path: Path) -> None:
    work = Segmenter(tiny, device="cpu", cache=tmp_path).start_build(*SIZE)
    assert work is not None
    assert work.wait(LONG)
    assert "tiny.safetensors: no such file" in work.error


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
