# SPDX-License-Identifier: Apache-2.0
"""The segmenter: its three masks, strided inputs, thresholds, looks, modules of others, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from plain_network import PlainNetwork
from tiny_network import in_floats, noise, overflowing_model, tiny_model
from torch.nn import functional

from densehybrid_ros.errors import ComputationError, InputError
from densehybrid_ros.inference import INPUT_POLICIES, Segmenter, dense_output
from densehybrid_ros.networks import DenseHybrid, HybridOutput, LoadedModel, ModelCard
from densehybrid_ros.scores import hybrid


def segmenter_of(network: DenseHybrid, **options) -> Segmenter:
    model = LoadedModel(network, ModelCard("toy", "toy"), Path("toy.safetensors"))
    return Segmenter(model, "eager", "cpu", warn=lambda text: None, **options)


@pytest.fixture(scope="module")
def segmenter(light: LoadedModel) -> Segmenter:
    return segmenter_of(light.network)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return noise((64, 96))


def test_masks_follow_from_the_networks_outputs(segmenter: Segmenter, light: LoadedModel, image: np.ndarray) -> None:
    with torch.inference_mode():
        output = light.network(in_floats(image))
    logits, posterior = (functional.interpolate(part, (64, 96), mode="bilinear") for part in output)
    score = hybrid(logits, posterior)[0].numpy()
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
    for array, dtype in ((result.semantic, np.uint8), (result.anomaly_score, np.float32), (result.open_set, np.uint8)):
        assert (array.dtype, array.shape, array.flags.c_contiguous) == (dtype, (64, 96), True)


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


def test_the_threshold_itself_is_not_exceeded() -> None:
    output = HybridOutput(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2, 2))
    score = float(dense_output(output, (2, 2), 0.0).anomaly_score[0, 0])
    assert (dense_output(output, (2, 2), score).open_set == 0).all()
    assert (dense_output(output, (2, 2), np.nextafter(np.float32(score), np.float32(-9))).open_set == 3).all()


@pytest.mark.parametrize("compiled", [True, False])
def test_a_score_that_is_not_finite_is_an_error_and_the_next_frame_none(compiled: bool) -> None:
    segmenter = segmenter_of(overflowing_model())
    segmenter._kernels = segmenter._kernels if compiled else None
    segmenter.warm_up(13, 22)
    with pytest.raises(ComputationError, match=r"score of this frame is not finite \(286 of 286 pixels\): .* fp32"):
        segmenter(np.full((13, 22, 3), 255, np.uint8), 0.0)
    assert np.isfinite(segmenter(np.zeros((13, 22, 3), np.uint8), 0.0).anomaly_score).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_warm_up_finds_a_broken_model(value: float) -> None:
    network = tiny_model()
    network.network.classifier.bias.data[2] = value
    with pytest.raises(ComputationError, match="256 of 256"):
        segmenter_of(network).warm_up()


def test_what_is_no_image_or_not_here_is_refused(segmenter: Segmenter) -> None:
    for image in (
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ):
        for use in (segmenter.look, lambda frame: segmenter(frame, 0.0)):
            with pytest.raises(InputError, match="needs uint8"):
                use(image)
    for backend, device, message in (
        ("onnx", "cpu", "backend 'onnx'"),
        ("eager", "tpu!", "device 'tpu!'"),
        ("eager", "cuda:99", "cuda:99"),
    ):
        with pytest.raises(InputError, match=message):
            Segmenter(segmenter.model, backend, device)


@pytest.mark.parametrize("policy", INPUT_POLICIES)
@pytest.mark.parametrize("size", [(64, 128), (128, 96)])
def test_score_and_classes_of_a_look_are_those_of_a_drive(light, policy: str, size: tuple[int, int]) -> None:
    frame = noise((70, 110))[:, :, ::-1]
    made = segmenter_of(light.network, input_policy=policy, size=size)
    result, look = made(frame, 0.0), made.look(frame)
    logits, posterior = look.enlarge(look.seen.logits), look.enlarge(look.seen.posterior)
    np.testing.assert_allclose(hybrid(logits, posterior)[0].numpy(), result.anomaly_score, atol=1e-4)
    top = logits[0].topk(2, dim=0).values
    clear = (top[0] - top[1]).numpy() > 1e-4
    assert (logits.argmax(dim=1)[0].numpy() == result.semantic)[clear].all()
    assert look.seen.images.shape[2:] == look.placement.network
    assert made.input_size == (None if policy == "exact" else size)


def test_gradients_go_through_what_looked(segmenter: Segmenter, image: np.ndarray) -> None:
    with torch.inference_mode():
        seen = segmenter.look(image).seen
    images = seen.images.clone().requires_grad_()
    seen.model.network(images)[1].sum().backward()
    assert images.grad is not None


@pytest.mark.parametrize("camera", [(64, 96), (33, 61)], ids=str)
@torch.no_grad()
def test_a_module_of_others_sees_the_padded_frame(camera: tuple[int, int]) -> None:
    torch.manual_seed(2)
    plain = DenseHybrid(PlainNetwork(19), classifier="head.1", mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)).eval()
    image = noise(camera)
    made = segmenter_of(plain)(image, 0.0)
    padding = (-camera[1] % 8, -camera[0] % 8)
    size = (camera[0] + padding[1], camera[1] + padding[0])
    output = plain(functional.pad(in_floats(image), (0, padding[0], 0, padding[1])))
    expected = dense_output(output, size, 0.0).anomaly_score[: camera[0], : camera[1]]
    np.testing.assert_allclose(made.anomaly_score, expected.numpy(), atol=1e-4)
    look = segmenter_of(plain, size=(30, 50), input_policy="resize").look(image)
    assert look.seen.images.shape == (1, 3, 32, 56)  # a multiple of its stride


def test_results_that_are_kept_are_not_overwritten(segmenter: Segmenter, image: np.ndarray) -> None:
    kept = [segmenter(image, 0.0), segmenter(255 - image, 0.0)]
    views = [memoryview(result.confidence[1:, ::2]) for result in kept]
    before = [(result.anomaly_score.copy(), np.array(view)) for result, view in zip(kept, views, strict=True)]
    scores = [result.anomaly_score for result in kept]
    del kept
    for _ in range(5):
        segmenter(image[::-1], 0.0)
    for (score, confidence), again, view in zip(before, scores, views, strict=True):
        np.testing.assert_array_equal(again, score)
        np.testing.assert_array_equal(np.asarray(view), confidence)
