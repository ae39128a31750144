# SPDX-License-Identifier: Apache-2.0
"""Backend openvino against the eager network, and where it is chosen and refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_network import SIZE, tiny_model

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.backends import EngineChoice, backend_to_build
from densehybrid_ros.inference.engine_cache import EngineCache
from densehybrid_ros.inference.openvino_engine import openvino_engine, openvino_problem
from densehybrid_ros.inference.segmenter import Segmenter
from densehybrid_ros.networks import LoadedModel, load_model

CPU = torch.device("cpu")
installed = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")


@installed
def test_light_has_the_classes_and_scores_of_eager_at_each_size(tmp_path: Path) -> None:
    model = load_model("light")
    frames = [np.random.default_rng(side).integers(0, 256, (side, 2 * side - 5, 3), np.uint8) for side in (96, 70)]
    eager = Segmenter(model, "eager", "cpu", cache=tmp_path)
    segmenter = Segmenter(model, "openvino", "cpu", cache=tmp_path)
    assert segmenter.describe() == "light (light), openvino fp32 on CPU"
    for frame in (*frames, frames[0]):
        made, expected = segmenter(frame), eager(frame)
        np.testing.assert_allclose(made.anomaly_score, expected.anomaly_score, atol=1e-2, rtol=1e-4)
        assert np.mean(made.semantic == expected.semantic) > 0.999


@installed
def test_more_sizes_than_a_camera_has_run_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("densehybrid_ros.inference.openvino_engine._MOST_SIZES", 1)
    model = tiny_model()
    engine = openvino_engine(model)
    with torch.inference_mode():
        for size in (SIZE, (16, 32), SIZE):
            images = torch.rand(1, 3, *size)
            for made, expected in zip(engine.run(images), model(images), strict=True):
                torch.testing.assert_close(made, expected, atol=1e-4, rtol=1e-4)
    assert len(engine.run.__closure__[0].cell_contents._requests) == 2  # the trial's and SIZE's


def test_auto_waits_for_no_compiler(tmp_path: Path) -> None:
    choice = EngineChoice(EngineCache(tiny_model(), "tiny", CPU, tmp_path), "auto")
    assert choice.choose(SIZE).backend == "eager"


@installed
def test_nothing_is_built_beside_it(tmp_path: Path) -> None:
    choice = EngineChoice(EngineCache(tiny_model(), "tiny", CPU, tmp_path), "openvino")
    assert choice.choose(SIZE).backend == "openvino"
    assert choice.start_build(SIZE, tmp_path / "none.safetensors") is None


def test_what_it_is_not_for_is_refused_in_one_line(
    tiny: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert openvino_problem(torch.device("cuda")) == "it is for CPUs"
    with pytest.raises(InputError, match="backend 'openvino': it is for precision fp32; use auto"):
        Segmenter(tiny, "openvino", "cpu", precision="bf16", cache=tmp_path)
    with pytest.raises(InputError, match="nothing to compile ahead of time"):
        backend_to_build("openvino", tiny_model(), CPU)
    monkeypatch.setattr("densehybrid_ros.inference.openvino_engine.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install openvino"):
        Segmenter(tiny, "openvino", "cpu", cache=tmp_path)
