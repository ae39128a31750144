# SPDX-License-Identifier: Apache-2.0
"""The node's way to a compiled engine: frames go on, the swap falls between two, failure leaves all as it was."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_network import SIZE, tiny_model

from densehybrid_ros.inference.engine_builder import BackgroundBuild
from densehybrid_ros.inference.engine_cache import EngineCache
from densehybrid_ros.inference.engine_upgrade import EngineUpgrade
from densehybrid_ros.inference.engines import EngineSpec
from densehybrid_ros.inference.segmenter import Segmenter
from densehybrid_ros.networks import LoadedModel

PROGRAM = [sys.executable, str(Path(__file__).with_name("tiny_network.py"))]
LONG = 120  # seconds; only a hang lasts as long


class CopyingPipeline(Segmenter):
    """Its builds copy an engine file instead of compiling for a minute; the process is a real one."""

    engine_file: Path
    builds: list[BackgroundBuild]

    def start_build(self, height: int, width: int) -> BackgroundBuild | None:
        cache = EngineCache(tiny_model(), "tiny", torch.device("cpu"), self._choice.cache.files.directory)
        build = BackgroundBuild(cache, EngineSpec("inductor", SIZE, "fp32"), self.engine_file, PROGRAM)
        self.builds.append(build)
        return build


@pytest.fixture
def segmenter(tiny: LoadedModel, compiled: Path, tmp_path: Path) -> CopyingPipeline:
    (tmp_path / "cache").mkdir()
    made = CopyingPipeline(tiny, device="cpu", cache=tmp_path / "cache", at_once=True)
    made.engine_file, made.builds = next(compiled.glob("*.pt2")), []
    return made


def test_the_engine_takes_over_between_two_frames_and_the_answers_stay(segmenter: CopyingPipeline) -> None:
    said: list[str] = []
    upgrade = EngineUpgrade(segmenter, said.append, pytest.fail)
    image = np.random.default_rng(1).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    upgrade.before_frame(*SIZE)
    first = segmenter(image, -3.0)
    assert segmenter.backend == "eager"
    assert "building the inductor fp32 engine" in said[0]
    (build,) = segmenter.builds
    assert build.wait(LONG)
    assert segmenter.backend == "eager"  # not before the worker comes by
    upgrade.before_frame(*SIZE)
    assert segmenter.backend == "inductor"
    assert "from this frame on: tiny (tiny), inductor fp32" in said[1]
    np.testing.assert_allclose(segmenter(image, -3.0).anomaly_score, first.anomaly_score, atol=1e-3)
    upgrade.before_frame(*SIZE)
    assert len(said) == 2
    assert len(segmenter.builds) == 1


def test_a_failed_build_is_told_once_and_frames_go_on(segmenter: CopyingPipeline) -> None:
    warned: list[str] = []
    upgrade = EngineUpgrade(segmenter, lambda text: None, warned.append)
    segmenter.engine_file = Path("missing")
    upgrade.before_frame(*SIZE)
    assert segmenter.builds[0].wait(LONG)
    for _ in range(2):
        upgrade.before_frame(*SIZE)
    assert len(warned) == 1
    assert "this build is broken; eager goes on" in warned[0]
    assert "failed after" in upgrade.progress()


def test_another_size_ends_the_build_and_starts_another(segmenter: CopyingPipeline, tmp_path: Path) -> None:
    (tmp_path / "cache" / "wait").touch()
    upgrade = EngineUpgrade(segmenter, lambda text: None, lambda text: None)
    upgrade.before_frame(*SIZE)
    upgrade.before_frame(64, 64)
    first, second = segmenter.builds
    assert first.wait(LONG)
    assert first.result() is None
    assert not second.finished
    upgrade.close()
    assert second.wait(LONG)
    assert second.result() is None


def test_each_camera_gets_an_engine_for_its_size_one_after_another(segmenter: CopyingPipeline) -> None:
    said: list[str] = []
    upgrade = EngineUpgrade(segmenter, said.append, pytest.fail)
    sizes = ((32, 48), (64, 64), (32, 48))
    for _ in range(2):
        for camera, size in enumerate(sizes):
            upgrade.before_frame(*size, camera)
    assert len(segmenter.builds) == 1  # the second camera's frames do not end the first one's build
    for count in (2, 2):
        assert segmenter.builds[-1].wait(LONG)
        for camera, size in enumerate(sizes):
            upgrade.before_frame(*size, camera)
        assert len(segmenter.builds) == count
    assert len([text for text in said if "from this frame on" in text]) == 2


def test_without_a_build_there_is_nothing_to_tell(tiny: LoadedModel) -> None:
    upgrade = EngineUpgrade(Segmenter(tiny, "eager", "cpu"), pytest.fail, pytest.fail)
    upgrade.before_frame(*SIZE)
    assert upgrade.progress() == ""
    upgrade.close()
