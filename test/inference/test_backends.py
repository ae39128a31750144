# SPDX-License-Identifier: Apache-2.0
"""The choice of a backend: what is in the cache, what may be built, OpenVINO, and the reason that people read."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_network import SIZE, noise, tiny_model

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.backends import EngineChoice, backend_to_build
from densehybrid_ros.inference.engine_cache import EngineCache
from densehybrid_ros.inference.engines import EngineSpec, eager_engine
from densehybrid_ros.inference.openvino_engine import openvino_engine, openvino_problem
from densehybrid_ros.inference.segmenter import Segmenter
from densehybrid_ros.networks import LoadedModel, load_model

CPU = torch.device("cpu")
installed = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")


def choice(directory: Path, backend: str = "auto", **options) -> EngineChoice:
    return EngineChoice(EngineCache(tiny_model(), "tiny", CPU, directory), backend, **options)


def test_auto_takes_a_compiled_engine_of_the_size_and_says_so(tiny: LoadedModel, compiled: Path) -> None:
    segmenter = Segmenter(tiny, device="cpu", cache=compiled)
    assert segmenter.describe() == "tiny (tiny), inductor fp32 on CPU"
    assert segmenter.reason.startswith("compiled engine")
    assert choice(compiled).choose((64, 64)).backend == "eager"
    engine = choice(compiled, "eager").choose(SIZE)
    assert (engine.backend, engine.reason) == ("eager", "as asked")


def test_without_an_engine_auto_is_eager_and_a_named_backend_an_error(tmp_path: Path) -> None:
    engine = choice(tmp_path).choose(SIZE)
    assert (engine.backend, engine.size) == ("eager", None)
    assert engine.reason == "no inductor engine for 48x32: none in the cache; densehybrid compile makes one"
    assert choice(tmp_path, "inductor", at_once=True).choose(SIZE).backend == "eager"
    with pytest.raises(InputError, match=r"backend 'inductor': no inductor engine for 48x32.*densehybrid compile"):
        choice(tmp_path, "inductor").choose(SIZE)


@pytest.mark.parametrize("size", [SIZE, None])
def test_an_added_engine_is_the_choice_for_its_size_or_for_any(size: tuple[int, int] | None, tmp_path: Path) -> None:
    made, engine = choice(tmp_path), replace(eager_engine(tiny_model(), "fp32", CPU), size=size)
    made.add(engine)
    assert made.choose(SIZE) is engine
    assert made.missing(SIZE) is None
    assert (made.choose((64, 64)) is engine) is (size is None)


def test_the_engine_is_chosen_once_a_size_not_for_each_camera(tiny: LoadedModel, tmp_path: Path, monkeypatch) -> None:
    segmenter, chosen = Segmenter(tiny, device="cpu", cache=tmp_path, warn=lambda text: None), []
    choose = EngineChoice.choose
    monkeypatch.setattr(EngineChoice, "choose", lambda self, size: (chosen.append(size), choose(self, size))[1])
    for camera, size in enumerate((SIZE, SIZE, (64, 64), (64, 64))):
        segmenter.submit(noise(size), 0.0, camera)()
    assert chosen == [(64, 64)]  # SIZE is the card's, for which it was chosen when it began


def test_fused_kernels_that_are_not_compiled_yet_do_not_hold_up_a_node(tmp_path: Path, monkeypatch) -> None:
    made = []
    monkeypatch.setattr(
        "densehybrid_ros.inference.backends.fused_engine",
        lambda network, device: made.append(device) or eager_engine(network, "fp32", device),
    )
    for at_once in (True, False):
        chosen = choice(tmp_path, "auto", at_once=at_once)
        monkeypatch.setattr(chosen, "_fused", True)
        assert ("given block sizes" in chosen.choose(SIZE).reason) is not at_once
        assert len(made) == int(not at_once)


def test_what_auto_would_compile() -> None:
    assert backend_to_build("auto", tiny_model(), CPU) == "inductor"
    for backend, message in (
        ("eager", "nothing to compile .fused kernels need a GPU"),
        ("openvino", "nothing to compile ahead of time"),
        ("tensorrt", "needs an NVIDIA GPU"),
    ):
        with pytest.raises(InputError, match=message):
            backend_to_build(backend, tiny_model(), CPU)


def test_precision_is_checked(tiny: LoadedModel, tmp_path: Path) -> None:
    assert Segmenter(tiny, "eager", "cpu", precision="bf16", cache=tmp_path).precision == "bf16"
    with pytest.raises(InputError, match="fp16"):
        Segmenter(tiny, "eager", "cpu", precision="fp16", cache=tmp_path)


def test_auto_takes_the_fastest_precision_that_was_compiled(compiled: Path, tmp_path: Path) -> None:
    directory = tmp_path / "cache"
    shutil.copytree(compiled, directory)
    cache = EngineCache(tiny_model(), "tiny", CPU, directory)
    engine_file = next(compiled.glob("*.pt2"))
    key = cache.key(EngineSpec("inductor", SIZE, "bf16"))
    cache.files.build(key, ".pt2", lambda path: {"file": str(shutil.copy(engine_file, path))})
    assert choice(directory).choose(SIZE).precision == "bf16"
    assert choice(directory, precision="fp32").choose(SIZE).precision == "fp32"


@installed
def test_openvino_has_the_classes_and_scores_of_eager_at_each_size(tmp_path: Path) -> None:
    model = load_model("light")
    frames = [noise((side, 2 * side - 5), side) for side in (96, 70)]
    eager = Segmenter(model, "eager", "cpu", cache=tmp_path)
    segmenter = Segmenter(model, "openvino", "cpu", cache=tmp_path)
    assert segmenter.describe() == "light (light), openvino fp32 on CPU"
    assert segmenter.missing_engine(64, 96) is None
    for frame in (*frames, frames[0]):
        made, expected = segmenter(frame), eager(frame)
        np.testing.assert_allclose(made.anomaly_score, expected.anomaly_score, atol=1e-2, rtol=1e-4)
        assert np.mean(made.semantic == expected.semantic) > 0.999


@installed
def test_more_sizes_than_openvino_compiles_run_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("densehybrid_ros.inference.openvino_engine._MOST_SIZES", 1)
    model = tiny_model()
    engine = openvino_engine(model)
    with torch.inference_mode():
        for size in (SIZE, (16, 32), SIZE):
            images = torch.rand(1, 3, *size)
            for made, expected in zip(engine.run(images), model(images), strict=True):
                torch.testing.assert_close(made, expected, atol=1e-4, rtol=1e-4)
    assert len(engine.run.__closure__[0].cell_contents._requests) == 2  # the trial's and SIZE's


def test_what_openvino_is_not_for_is_refused_in_one_line(
    tiny: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert openvino_problem(torch.device("cuda")) == "it is for CPUs"
    with pytest.raises(InputError, match="backend 'openvino': it is for precision fp32; use auto"):
        Segmenter(tiny, "openvino", "cpu", precision="bf16", cache=tmp_path)
    monkeypatch.setattr("densehybrid_ros.inference.openvino_engine.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install openvino"):
        Segmenter(tiny, "openvino", "cpu", cache=tmp_path)
