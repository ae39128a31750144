# SPDX-License-Identifier: Apache-2.0
"""Building beside the frames, with real processes: the swap between two of them, several sizes, failure, an end."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_network import SIZE, noise, tiny_model

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference import background_build
from densehybrid_ros.inference.background_build import BackgroundBuild, EngineUpgrade
from densehybrid_ros.inference.engine_cache import EngineCache
from densehybrid_ros.inference.engines import EngineSpec
from densehybrid_ros.inference.segmenter import Segmenter
from densehybrid_ros.networks import LoadedModel

LONG = 120  # seconds; only a hang lasts as long


@pytest.fixture
def copying(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds copy an engine file instead of compiling for a minute."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    program = [sys.executable, str(Path(__file__).with_name("tiny_network.py"))]
    monkeypatch.setattr(background_build, "COMPILE_PROGRAM", program)


@pytest.fixture
def segmenter(tiny: LoadedModel, compiled: Path, tmp_path: Path, copying: None) -> Segmenter:
    model = dataclasses.replace(tiny, path=next(compiled.glob("*.pt2")))
    (tmp_path / "cache").mkdir()
    return Segmenter(model, device="cpu", cache=tmp_path / "cache", at_once=True)


def test_the_engine_takes_over_between_two_frames_and_the_answers_stay(segmenter: Segmenter) -> None:
    said: list[str] = []
    upgrade = EngineUpgrade(segmenter, said.append, pytest.fail)
    image = noise(SIZE, 1)
    assert upgrade.progress() == ""
    upgrade.before_frame(*SIZE)
    first = segmenter(image, -3.0)
    assert segmenter.backend == "eager"
    assert said[0].startswith("building the inductor fp32 engine for 48x32")
    build = upgrade._build
    assert build is not None
    build.thread.join(LONG)
    assert segmenter.backend == "eager"  # not before the worker comes by
    upgrade.before_frame(*SIZE)
    assert segmenter.backend == "inductor"
    assert said[1].startswith("built the inductor fp32 engine for 48x32 in")
    assert "from this frame on: tiny (tiny), inductor fp32" in said[1]
    np.testing.assert_allclose(segmenter(image, -3.0).anomaly_score, first.anomaly_score, atol=1e-3)
    upgrade.before_frame(*SIZE)
    assert len(said) == 2
    assert upgrade._build is build


def test_a_failed_build_is_told_once_and_frames_go_on(segmenter: Segmenter) -> None:
    warned: list[str] = []
    segmenter.model = dataclasses.replace(segmenter.model, path=Path("missing"))
    upgrade = EngineUpgrade(segmenter, lambda text: None, warned.append)
    upgrade.before_frame(*SIZE)
    assert upgrade._build is not None
    upgrade._build.thread.join(LONG)
    for _ in range(2):
        upgrade.before_frame(*SIZE)
    assert len(warned) == 1
    assert "this build is broken; eager goes on" in warned[0]
    assert "failed after" in upgrade.progress()


def test_another_size_ends_the_build_and_starts_another(segmenter: Segmenter, tmp_path: Path) -> None:
    (tmp_path / "cache" / "wait").touch()
    upgrade = EngineUpgrade(segmenter, lambda text: None, lambda text: None)
    upgrade.before_frame(*SIZE)
    first = upgrade._build
    upgrade.before_frame(64, 64)
    second = upgrade._build
    assert first is not None
    assert second is not None
    first.thread.join(LONG)
    assert (first.engine, bool(first.error), second.thread.is_alive()) == (None, True, True)
    upgrade.close()
    second.thread.join(LONG)
    assert second.engine is None


def test_each_camera_gets_an_engine_for_its_size_one_after_another(segmenter: Segmenter) -> None:
    said: list[str] = []
    upgrade = EngineUpgrade(segmenter, said.append, pytest.fail)
    sizes = ((32, 48), (64, 64), (32, 48))
    builds = []
    for _ in range(3):
        for _ in range(2):  # the second camera's frames do not end the first one's build
            for camera, size in enumerate(sizes):
                upgrade.before_frame(*size, camera)
        builds.append(upgrade._build)
        assert upgrade._build is not None
        upgrade._build.thread.join(LONG)
    assert builds[0] is not builds[1] is builds[2]
    assert [text.split(" in ")[0] for text in said if "from this frame on" in text] == [
        f"built the inductor fp32 engine for {size}" for size in ("48x32", "64x64")
    ]


@pytest.mark.usefixtures("copying")
def test_a_cache_that_can_not_be_used_is_gone_round(compiled: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    cache = EngineCache(tiny_model(), "tiny", torch.device("cpu"), tmp_path)
    spec = EngineSpec("inductor", SIZE, "fp32")
    work = BackgroundBuild(cache, spec, next(compiled.glob("*.pt2")))
    work.thread.join(LONG)
    assert work.engine is not None, work.error
    assert not list(tmp_path.iterdir())


def test_nothing_is_built_where_an_engine_is_there_or_nothing_compiles(tiny: LoadedModel, compiled: Path) -> None:
    assert Segmenter(tiny, device="cpu", cache=compiled).missing_engine(*SIZE) is None
    eager = Segmenter(tiny, "eager", "cpu", cache=compiled)
    EngineUpgrade(eager, pytest.fail, pytest.fail).before_frame(64, 64)
    with pytest.raises(InputError, match="frames of 48x64 are taller than wide; use input_policy letterbox"):
        Segmenter(tiny, device="cpu", cache=compiled).missing_engine(64, 48)


def test_the_build_is_the_command(tiny: LoadedModel, tmp_path: Path) -> None:
    cache = EngineCache(tiny.network, "tiny", torch.device("cpu"), tmp_path)
    work = BackgroundBuild(cache, EngineSpec("inductor", SIZE, "fp32"), tiny.path)
    work.thread.join(LONG)
    assert "tiny.safetensors: no such file" in work.error
