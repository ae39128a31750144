# SPDX-License-Identifier: Apache-2.0
"""On a GPU: every backend equal to the CPU in fp32, the segmenter's buffers, CUDA graphs, and the engine cache."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_network import SIZE, loadable, noise, overflowing_model, tiny_model

from densehybrid_ros.errors import ComputationError
from densehybrid_ros.inference import runners
from densehybrid_ros.inference.backends import choose_device, tensorrt_problem
from densehybrid_ros.inference.engine_cache import EngineCache
from densehybrid_ros.inference.engine_rows import gpu_rows
from densehybrid_ros.inference.engines import EngineSpec, eager_engine
from densehybrid_ros.inference.fused import fused_problem
from densehybrid_ros.inference.input_policy import place
from densehybrid_ros.inference.results import Levels
from densehybrid_ros.inference.runners import DeviceRunner
from densehybrid_ros.inference.segmenter import Segmenter
from densehybrid_ros.networks import (
    DenseHybrid,
    LoadedModel,
    ModelCard,
    build_network,
    load_model,
    shipped_models,
)

pytestmark = pytest.mark.gpu

FRAME = (128, 256)
CARD = ModelCard("tiny", "tiny", input_size=SIZE)


@pytest.fixture(scope="module")
def device() -> torch.device:
    return choose_device("cuda")


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that lasts for the module, so that each engine is built once."""
    return tmp_path_factory.mktemp("gpu_engines")


def need(backend: str, device: torch.device) -> None:
    problem = tensorrt_problem(device) if backend == "tensorrt" else None
    if problem:
        pytest.skip(problem)


def shipped(name: str) -> LoadedModel:
    if name not in shipped_models():
        pytest.skip(f"the model {name} is not here")
    return load_model(name)


# inductor takes minutes for these; the tests of its engines below take a tiny network.
@pytest.mark.parametrize("backend", ["eager", "tensorrt"])
@pytest.mark.parametrize("name", ["light", "ldn121"])
def test_every_backend_agrees_with_the_cpu(name: str, backend: str, device: torch.device, engines: Path) -> None:
    need(backend, device)
    model = shipped(name)
    image = noise(FRAME)
    expected = Segmenter(model, "eager", "cpu", cache=engines)(image, 0.0)
    threshold = float(np.median(expected.anomaly_score))
    expected = Segmenter(model, "eager", "cpu", cache=engines)(image, threshold)
    if backend == "tensorrt":  # trying block sizes takes minutes and has a test of its own
        EngineCache(model.network, name, device, engines).build(EngineSpec(backend, FRAME, "fp16"))
    segmenter = Segmenter(model, backend, "cuda", size=FRAME, cache=engines)
    made = segmenter(image, threshold)
    assert segmenter.backend == backend
    assert segmenter.precision == "fp16"
    error = np.abs(made.anomaly_score - expected.anomaly_score)
    # Relative, since a posterior weighed by 16 widens the scores: 0.05 nats where they spread by 2.
    assert error.mean() < 0.025 * expected.anomaly_score.std(), segmenter.describe()
    assert (made.semantic == expected.semantic).mean() > 0.98
    assert (made.open_set == expected.open_set).mean() > 0.97
    unknown = made.anomaly_score > threshold
    assert (made.open_set[unknown] == 19).all()
    assert (made.open_set[~unknown] == made.semantic[~unknown]).all()


def test_frames_of_several_cameras_are_on_their_way_at_once(device: torch.device, engines: Path) -> None:
    """They share engine, computing stream and graph memory, and each gets the answer that it gets alone."""
    sizes = (FRAME, (96, 160), FRAME)
    segmenter = Segmenter(shipped("light"), "eager", "cuda", cache=engines)
    for seed in range(5):
        images = [noise(size, 10 * seed + camera) for camera, size in enumerate(sizes)]
        begun = [segmenter.submit(image, 0.0, camera) for camera, image in enumerate(images)]
        for image, wait in zip(images, begun, strict=True):
            alone = Segmenter(segmenter.model, "eager", "cuda", cache=engines)(image, 0.0)
            made = wait()
            np.testing.assert_array_equal(made.anomaly_score, alone.anomaly_score)
            np.testing.assert_array_equal(made.open_set, alone.open_set)
    used = list(segmenter._runners.values())
    assert len(used) == 3
    assert len({runner.stream for runner in used if isinstance(runner, DeviceRunner)}) == 1


@pytest.mark.parametrize("backend", ["inductor", "tensorrt"])
def test_an_engine_is_stored_and_found_unless_it_is_damaged(
    backend: str, device: torch.device, engines: Path, tmp_path: Path
) -> None:
    need(backend, device)
    spec = EngineSpec(backend, SIZE, "fp16")
    with loadable():
        EngineCache(tiny_model(), "tiny", device, engines).build(spec)
    cache = EngineCache(tiny_model(), "tiny", device, shutil.copytree(engines, tmp_path / "copy"))
    engine, problem = cache.find(spec)
    assert engine is not None, problem
    images = torch.rand(1, 3, *SIZE, device=device, dtype=torch.float16)
    images = engine.new_images(SIZE, device).copy_(images)
    with torch.inference_mode():
        expected = eager_engine(tiny_model(), "fp32", device).run(images.float())
        torch.testing.assert_close(engine.run(images).logits.float(), expected.logits, atol=0.05, rtol=0.01)
    for path in (tmp_path / "copy").glob("*.pt2"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert cache.find(spec)[0] is None


def test_block_sizes_are_stored_found_and_measured_again_when_damaged(device: torch.device, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = DenseHybrid(build_network("light", 19)).eval()
    cache = EngineCache(network, "light", device, tmp_path)
    spec = EngineSpec("eager", FRAME, "fp16")
    built = cache.build(spec)
    assert built.size == FRAME
    assert built.facts["score_error_mean"] < 0.01
    engine, problem = cache.find(spec)
    assert engine is not None, problem
    path = next(tmp_path.glob("*.tiles"))
    assert path.name in engine.reason
    path.write_text("{}")
    assert cache.find(spec)[0] is None
    with torch.inference_mode():
        images = torch.rand(1, 3, *FRAME, device=device)
        expected = eager_engine(network, "fp32", device).run(images)
        made = cache.build(spec)
        output = made.run(made.new_images(FRAME, device).copy_(images))
    torch.testing.assert_close(output.logits.float(), expected.logits, atol=0.02, rtol=0.02)


def test_auto_takes_fused_kernels_where_there_are_some(device: torch.device, tmp_path: Path) -> None:
    model = LoadedModel(
        DenseHybrid(build_network("light", 19)).eval(), ModelCard("light", "light", input_size=FRAME), Path("x")
    )
    segmenter = Segmenter(model, "auto", "cuda", cache=tmp_path)
    assert (segmenter.backend, segmenter.precision) == ("eager", "fp16")
    assert "fused kernels with given block sizes" in segmenter.reason
    assert segmenter(noise((96, 160)), 0.0).semantic.shape == (96, 160)  # any size
    assert "fused" not in Segmenter(model, "eager", "cuda", precision="fp32", cache=tmp_path).reason
    assert fused_problem(tiny_model(), device) == "no fused kernels for TinyNetwork"


@pytest.fixture(params=["kernels in a graph", "kernels without a graph", "PyTorch's operations"])
def passes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ways of the passes around the network: as they are, where capturing fails, and without Triton."""
    if request.param == "PyTorch's operations":
        monkeypatch.setattr(runners, "device_kernels", None)
    if request.param == "kernels without a graph":

        def refuse(*arguments: object, **options: object) -> None:
            raise RuntimeError("no capture")

        monkeypatch.setattr(torch.cuda, "graph", refuse)
    return request.param


def tiny_runner(network: DenseHybrid, precision: str, device: torch.device) -> DeviceRunner:
    engine = eager_engine(network, precision, device)
    return DeviceRunner(engine, place("exact", SIZE, SIZE, 4), False, device, CARD.confidence)


def test_frames_thresholds_and_colour_orders_reach_the_device(device: torch.device, passes: str) -> None:
    model = tiny_model()
    with torch.inference_mode():
        runner = tiny_runner(model, "fp32", device)
        assert bool(runner.note) is (passes == "kernels without a graph")
        cpu = Segmenter(LoadedModel(model, CARD, Path("x")), "eager", "cpu")
        for seed, threshold in ((1, -4.0), (2, -2.0), (3, -3.0)):
            image = noise(SIZE, seed)
            for view in (
                image,
                np.ascontiguousarray(image[:, :, ::-1])[:, :, ::-1],
                np.flipud(np.flipud(image).copy()),
            ):
                made, expected = runner(view, Levels(threshold, CARD.confidence)), cpu(image, threshold)
                np.testing.assert_allclose(made.anomaly_score, expected.anomaly_score, atol=0.05)  # tf32 on the GPU
                assert (made.open_set == expected.open_set).mean() > 0.98
                assert np.abs(made.confidence.astype(int) - expected.confidence).max() <= 2


def test_a_score_that_is_not_finite_is_an_error_and_the_next_frame_none(device: torch.device, passes: str) -> None:
    levels = Levels(0.0, CARD.confidence)
    with torch.inference_mode():
        runner = tiny_runner(overflowing_model(), "fp32", device)
        for _ in range(2):
            assert np.isfinite(runner(np.zeros((*SIZE, 3), np.uint8), levels).anomaly_score).all()
            with pytest.raises(ComputationError, match="not finite"):
                runner(np.full((*SIZE, 3), 255, np.uint8), levels)


def test_nothing_is_allocated_for_a_frame(device: torch.device) -> None:
    with torch.inference_mode():
        runner = tiny_runner(tiny_model(), "fp16", device)
        levels = Levels(0.0, CARD.confidence)
        for seed in range(3):
            result = runner(noise(SIZE, seed), levels)
        addresses: set[int] = set()
        before = torch.cuda.memory_stats(device)["allocation.all.allocated"]
        for seed in range(20):
            result = runner(noise(SIZE, seed), levels)
            addresses.add(result.semantic.ctypes.data)
        assert torch.cuda.memory_stats(device)["allocation.all.allocated"] == before
        assert len(addresses) <= 4  # nor on the host
    assert result.semantic.shape == SIZE


@pytest.mark.parametrize("policy", ["exact", "resize", "letterbox"])
def test_input_policies_agree_with_the_cpu(device: torch.device, policy: str) -> None:
    image = noise((90, 200))
    options = {"size": (128, 192), "input_policy": policy}
    made = Segmenter(shipped("light"), "eager", "cuda", precision="fp32", **options)(image, 0.0)
    expected = Segmenter(shipped("light"), "eager", "cpu", **options)(image, 0.0)
    assert made.semantic.shape == (90, 200)
    difference = np.abs(made.anomaly_score - expected.anomaly_score)  # tf32 on the GPU
    assert difference.mean() < 0.005 * expected.anomaly_score.std()


def test_a_swap_between_two_frames(device: torch.device, engines: Path, tmp_path: Path) -> None:
    model = LoadedModel(tiny_model(), CARD, Path("x"))
    segmenter = Segmenter(model, "auto", "cuda", cache=tmp_path, at_once=True)
    before = segmenter(noise(SIZE), -3.0)
    assert segmenter.backend == "eager"
    with loadable():
        engine = EngineCache(model.network, "tiny", device, engines).build(EngineSpec("inductor", SIZE, "fp16"))
    segmenter.swap(engine)
    after = segmenter(noise(SIZE), -3.0)
    assert segmenter.backend == "inductor"
    np.testing.assert_allclose(after.anomaly_score, before.anomaly_score, atol=0.05)


def test_a_row_that_fails_does_not_stop_the_others(device: torch.device, tmp_path: Path, monkeypatch) -> None:
    model = LoadedModel(tiny_model(), CARD, Path("x"))
    monkeypatch.setattr("densehybrid_ros.inference.engine_rows.tensorrt_problem", lambda device: "exploded")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rows = gpu_rows(model, device, SIZE, 5, build=False)
    by_name = {row.name: row for row in rows}
    best = "tiny: eager fp16, PyTorch's operations"
    assert by_name[best].values["device_ms"] > 0
    assert "exploded" in by_name["tiny: tensorrt fp16"].problem
    assert "none in the cache" in by_name["tiny: inductor fp16"].problem
    assert by_name[f"{best}, host to host"].values["host_to_host_ms"] > 0
    assert by_name[f"{best}, closed set, argmax alone"].values["device_ms"] > 0
