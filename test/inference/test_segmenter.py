# SPDX-License-Identifier: Apache-2.0
"""The segmenter: its three masks, strided inputs, thresholds, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_network import overflowing_model, tiny_model

from densehybrid_ros.errors import ComputationError, InputError
from densehybrid_ros.inference import Segmenter, dense_output
from densehybrid_ros.networks import (
    DenseHybrid,
    HybridOutput,
    LoadedModel,
    ModelCard,
    build_network,
    upsample,
)
from densehybrid_ros.scores import hybrid


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    torch.manual_seed(4)
    model = DenseHybrid(build_network("light", 19)).eval()
    return Segmenter(LoadedModel(model, ModelCard("toy", "light"), Path("toy.safetensors")), "eager", "cpu")


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)


def test_masks_follow_from_the_networks_outputs(segmenter: Segmenter, image: np.ndarray) -> None:
    torch.manual_seed(4)
    reference = DenseHybrid(build_network("light", 19)).eval()
    with torch.inference_mode():
        output = reference(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
    logits = upsample(output.logits, (64, 96))
    score = hybrid(logits, upsample(output.posterior, (64, 96)))[0].numpy()
    threshold = float(np.median(score))
    result = segmenter(image, threshold)
    np.testing.assert_allclose(result.anomaly_score, score, atol=1e-4)
    top_two = logits[0].topk(2, dim=0).values
    clear = (top_two[0] - top_two[1]).numpy() > 1e-4
    assert (result.semantic == logits.argmax(1)[0].numpy())[clear].all()
    unknown = result.anomaly_score > threshold
    assert 0.4 < unknown.mean() < 0.6
    assert (result.open_set[unknown] == 19).all()
    assert (result.open_set[~unknown] == result.semantic[~unknown]).all()


def test_results_are_contiguous_arrays_of_the_cameras_size(segmenter: Segmenter, image: np.ndarray) -> None:
    result = segmenter(image, 0.0)
    for array, dtype in ((result.semantic, np.uint8), (result.anomaly_score, np.float32), (result.open_set, np.uint8)):
        assert array.dtype == dtype
        assert array.shape == (64, 96)
        assert array.flags.c_contiguous


@pytest.mark.parametrize(
    "view",
    [
        pytest.param(lambda image: np.ascontiguousarray(image[:, :, ::-1])[:, :, ::-1], id="bgr view"),
        pytest.param(lambda image: np.ascontiguousarray(image[::-1])[::-1], id="upside-down view"),
        pytest.param(lambda image: np.concatenate([image, image], axis=1)[:, :96], id="padded rows"),
        pytest.param(lambda image: np.frombuffer(image.tobytes(), np.uint8).reshape(image.shape), id="read-only"),
    ],
)
def test_views_give_the_same_result(segmenter: Segmenter, image: np.ndarray, view, recwarn) -> None:
    strided = view(image)
    assert (strided == image).all()
    assert (segmenter(strided, 0.0).anomaly_score == segmenter(image, 0.0).anomaly_score).all()
    assert not recwarn.list


def test_a_later_frame_does_not_overwrite_an_earlier_result(segmenter: Segmenter, image: np.ndarray) -> None:
    first = segmenter(image, 0.0)
    kept = first.anomaly_score.copy()
    segmenter(255 - image, 0.0)
    assert (first.anomaly_score == kept).all()


def test_the_threshold_itself_is_not_exceeded() -> None:
    output = HybridOutput(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2, 2))
    score = float(dense_output(output, (2, 2), 0.0).anomaly_score[0, 0])
    assert (dense_output(output, (2, 2), score).open_set == 0).all()
    assert (dense_output(output, (2, 2), np.nextafter(np.float32(score), np.float32(-9))).open_set == 3).all()


@pytest.mark.parametrize("compiled", [True, False])
def test_a_score_that_is_not_finite_is_an_error_and_the_next_frame_none(compiled: bool) -> None:
    segmenter = Segmenter(LoadedModel(overflowing_model(), ModelCard("tiny", "tiny"), Path("x")), "eager", "cpu")
    segmenter._kernels = segmenter._kernels if compiled else None
    segmenter.warm_up(13, 22)
    with pytest.raises(ComputationError, match=r"score of this frame is not finite \(286 of 286 pixels\): .* fp32"):
        segmenter(np.full((13, 22, 3), 255, np.uint8), 0.0)
    assert np.isfinite(segmenter(np.zeros((13, 22, 3), np.uint8), 0.0).anomaly_score).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_warm_up_finds_a_broken_model(value: float) -> None:
    network = tiny_model()
    network.network.classifier.bias.data[2] = value
    segmenter = Segmenter(LoadedModel(network, ModelCard("tiny", "tiny"), Path("x")), "eager", "cpu")
    with pytest.raises(ComputationError, match="256 of 256"):
        segmenter.warm_up()


def test_a_warm_up_without_a_size_leaves_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    segmenter = Segmenter(LoadedModel(tiny_model(), ModelCard("tiny", "tiny"), Path("x")), "eager", "cpu")
    segmenter.warm_up()
    segmenter(np.zeros((13, 22, 3), np.uint8), 0.0)
    assert not [record for record in caplog.records if "size" in record.message]


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=["grey", "rgba", "float", "empty"],
)
def test_what_is_no_image_is_refused(segmenter: Segmenter, image: np.ndarray) -> None:
    with pytest.raises(InputError, match="uint8"):
        segmenter(image, 0.0)


@pytest.mark.parametrize(
    ("backend", "device", "message"),
    [("onnx", "cpu", "backend 'onnx'"), ("eager", "tpu!", "device 'tpu!'"), ("eager", "cuda:99", "cuda:99")],
)
def test_what_is_not_here_is_named(backend: str, device: str, message: str) -> None:
    model = LoadedModel(DenseHybrid(build_network("light", 19)).eval(), ModelCard("toy", "light"), Path("x"))
    with pytest.raises(InputError, match=message):
        Segmenter(model, backend, device)


@pytest.mark.gpu
def test_half_precision_on_the_gpu_agrees_with_the_cpu(image: np.ndarray) -> None:
    results = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(4)
        model = LoadedModel(DenseHybrid(build_network("light", 19)).eval(), ModelCard("toy", "light"), Path("x"))
        results.append(Segmenter(model, "eager", device)(image, 0.0))
    np.testing.assert_allclose(results[0].anomaly_score, results[1].anomaly_score, atol=0.05)
