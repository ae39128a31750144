# SPDX-License-Identifier: Apache-2.0
"""Cameras of other sizes: results at the camera's size and geometry, and a change of size at run time."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_network import SIZE, in_floats, noise

from densehybrid_ros.errors import InputError
from densehybrid_ros.inference.dense_output import dense_output
from densehybrid_ros.inference.input_policy import place
from densehybrid_ros.inference.segmenter import Segmenter
from densehybrid_ros.networks import DenseHybrid, LoadedModel, SegmentationNetwork


class BrightnessNetwork(SegmentationNetwork):
    """Class 1 where a 4x4 patch is bright on average, else class 0: shows where things are seen."""

    prelogit_channels = 3
    input_stride = 4
    num_classes = 2

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        patches = torch.nn.functional.avg_pool2d(images, 4)
        bright = patches.mean(dim=1, keepdim=True)
        return patches, torch.cat([20 * (1 - bright), 20 * bright], dim=1)


@pytest.fixture
def brightness(tiny: LoadedModel) -> LoadedModel:
    torch.manual_seed(0)
    return LoadedModel(DenseHybrid(BrightnessNetwork()).eval(), tiny.card, tiny.path)


def test_placements() -> None:
    exact = place("exact", (30, 40), (64, 64), 8)
    assert (exact.camera, exact.content, exact.network) == ((30, 40), (30, 40), (32, 40))
    assert place("exact", (1, 33), (64, 64), 32).network == (32, 64)
    stretched = place("resize", (30, 40), (60, 90), 32)
    assert (stretched.content, stretched.network) == ((64, 96), (64, 96))
    boxed = place("letterbox", (30, 40), (60, 120), 4)
    assert (boxed.content, boxed.network) == ((60, 80), (60, 120))
    assert [place("exact", size, size, 4).whole for size in ((32, 40), (32, 39))] == [True, False]
    with pytest.raises(InputError, match="input_policy 'crop': unknown; choose one of exact, resize, letterbox"):
        place("crop", (30, 40), (64, 64), 32)
    image = np.full((30, 40, 3), 200, dtype=np.uint8)
    fitted = boxed.fit(image)
    assert fitted.shape == (60, 80, 3)
    assert (fitted == 200).all()
    assert place("exact", (30, 40), (60, 120), 32).fit(image) is image


@pytest.mark.parametrize("policy", ["letterbox", "exact"])
def test_what_a_frame_leaves_free_is_black_for_every_frame(brightness, tmp_path: Path, policy: str) -> None:
    seen = []
    network = brightness.network.network
    network.register_forward_pre_hook(lambda module, images: seen.append(images[0].clone()))
    segmenter = Segmenter(brightness, "eager", "cpu", size=(32, 96), input_policy=policy, cache=tmp_path)
    for value in (200, 100):
        segmenter(np.full((30, 45, 3), value, dtype=np.uint8), 0.0)
    height, width = (32, 48) if policy == "letterbox" else (30, 45)
    for images, value in zip(seen, (200, 100), strict=True):
        assert images.shape == (1, 3, 32, 96 if policy == "letterbox" else 48)
        torch.testing.assert_close(images[..., :height, :width], torch.full((1, 3, height, width), value / 255))
        assert not images[..., height:, :].any()
        assert not images[..., width:].any()


@pytest.mark.parametrize("camera", [(227, 320), (1, 1), (33, 65), (64, 96)], ids=str)
def test_exact_pads_to_the_stride_and_stays_near_the_unpadded_network(light, tmp_path: Path, camera) -> None:
    coarse = noise((camera[0] // 16 + 1, camera[1] // 16 + 1))
    image = cv2.resize(coarse, camera[::-1], interpolation=cv2.INTER_CUBIC)
    warnings: list[str] = []
    made = Segmenter(light, "eager", "cpu", cache=tmp_path, warn=warnings.append)(image, 0.0)
    for array in (made.semantic, made.anomaly_score, made.open_set, made.confidence):
        assert array.shape == camera
    with torch.inference_mode():
        output = light.network(in_floats(image))
    unpadded = dense_output(output, camera, 0.0).anomaly_score.numpy()
    whole = camera == (64, 96)
    np.testing.assert_allclose(made.anomaly_score, unpadded, atol=1e-5 if whole else 0.05)
    assert warnings == []


def test_a_compiled_engine_of_the_padded_size_is_found(tiny: LoadedModel, compiled: Path) -> None:
    image = noise((SIZE[0] - 1, SIZE[1] - 3))
    results = {}
    for backend in ("auto", "eager"):
        segmenter = Segmenter(tiny, backend, "cpu", size=(SIZE[0] - 1, SIZE[1] - 3), cache=compiled)
        results[backend] = segmenter(image, 0.0).anomaly_score
        assert segmenter.backend == ("inductor" if backend == "auto" else "eager")
    np.testing.assert_allclose(results["auto"], results["eager"], atol=1e-3)


@pytest.mark.parametrize("policy", ["exact", "resize", "letterbox"])
@pytest.mark.parametrize("camera", [(96, 160), (200, 120), (64, 96), (97, 161)], ids=str)
def test_a_disc_is_found_where_the_camera_sees_it(brightness, tmp_path: Path, policy, camera) -> None:
    image = np.zeros((*camera, 3), dtype=np.uint8)
    centre = (camera[1] * 2 // 3, camera[0] // 3)
    cv2.circle(image, centre, 24, (255, 255, 255), -1)
    frame = np.ascontiguousarray(image[:, :, ::-1])[:, :, ::-1]
    segmenter = Segmenter(
        brightness, "eager", "cpu", size=(64, 96), input_policy=policy, cache=tmp_path, warn=lambda _: None
    )
    result = segmenter(frame, 0.0)
    for array in (result.semantic, result.anomaly_score, result.open_set, result.confidence):
        assert array.shape == camera
    expected = image[:, :, 0] > 127
    found = result.semantic == 1
    overlap = (found & expected).sum() / (found | expected).sum()
    assert overlap > 0.85
    rows, columns = np.nonzero(found)
    assert abs(rows.mean() - centre[1]) < 1.0
    assert abs(columns.mean() - centre[0]) < 1.0


def test_a_change_of_size_is_handled_with_a_warning(tiny: LoadedModel, compiled: Path) -> None:
    warnings: list[str] = []
    segmenter = Segmenter(tiny, device="cpu", cache=compiled, warn=warnings.append)
    image = noise((64, 96))
    segmenter(image[: SIZE[0], : SIZE[1]], 0.0)
    assert (segmenter.backend, warnings) == ("inductor", [])
    assert segmenter(image, 0.0).semantic.shape == (64, 96)
    assert segmenter.backend == "eager"
    assert warnings == [
        "the camera's size changed from 48x32 to 96x64",
        "no compiled engine for 96x64: eager takes over",
    ]
    segmenter(image, 0.0)
    assert len(warnings) == 2
    segmenter(image[: SIZE[0], : SIZE[1]], 0.0)
    assert segmenter.backend == "inductor"
    assert len(warnings) == 3


def test_cameras_of_several_sizes_keep_what_is_theirs(tiny: LoadedModel, compiled: Path) -> None:
    """Their frames in turns neither allocate buffers nor load an engine again, and none gets another one's answer."""
    warnings: list[str] = []
    segmenter = Segmenter(tiny, device="cpu", cache=compiled, warn=warnings.append)
    sizes = (SIZE, (64, 96), SIZE)
    first_runners = None
    for seed in range(3):
        images = [noise(size, 3 * seed + camera) for camera, size in enumerate(sizes)]
        begun = [segmenter.submit(image, 0.0, camera) for camera, image in enumerate(images)]
        results = [wait() for wait in begun]
        runners = list(segmenter._runners.values())
        assert runners == (first_runners or runners)
        first_runners = runners
        for image, result in zip(images, results, strict=True):
            alone = Segmenter(tiny, device="cpu", cache=compiled, warn=warnings.append)(image, 0.0)
            np.testing.assert_array_equal(result.anomaly_score, alone.anomaly_score)
            np.testing.assert_array_equal(result.open_set, alone.open_set)
    assert not any("size changed" in warning for warning in warnings)


@pytest.mark.parametrize("policy", ["resize", "letterbox"])
def test_other_policies_keep_the_compiled_engine(tiny: LoadedModel, compiled: Path, policy: str) -> None:
    warnings: list[str] = []
    segmenter = Segmenter(tiny, device="cpu", cache=compiled, input_policy=policy, warn=warnings.append)
    for camera in ((64, 96), (50, 50)):
        assert segmenter(noise(camera), 0.0).semantic.shape == camera
        assert segmenter.backend == "inductor"
    assert warnings[0] == f"frames of 96x64 go to the network as 48x32 ({policy})"
    assert len(warnings) == 2
