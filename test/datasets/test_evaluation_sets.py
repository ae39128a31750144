# SPDX-License-Identifier: Apache-2.0
"""Readers of the evaluation data sets, on small copies of their published layouts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from official_layouts import HEIGHT, WIDTH, cityscapes, label_map, save_image, save_picture

from densehybrid_ros.datasets.evaluation_set import EvaluationFrame
from densehybrid_ros.datasets.pictures import read_color, read_disparity, read_instances, read_labels
from densehybrid_ros.datasets.registry import EVALUATION_SETS, open_evaluation_set
from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.protocols import PROTOCOLS


def save_label(path: Path, *values: int) -> np.ndarray:
    """Saves a label map that repeats ``values`` along its rows."""
    labels = label_map(*values)
    save_picture(path, labels)
    return labels


def frames_of(name: str, root: Path) -> list[EvaluationFrame]:
    dataset = open_evaluation_set(name, root)
    return [dataset[index] for index in range(len(dataset))]


def test_every_data_set_but_those_of_mapped_classes_has_a_protocol_and_an_unknown_name_lists_all(
    tmp_path: Path,
) -> None:
    assert set(EVALUATION_SETS) == set(PROTOCOLS) | {"idd_lite", "mapillary_vistas", "wilddash2"}
    with pytest.raises(InputError, match="--dataset nope: unknown; choose one of folder, "):
        open_evaluation_set("nope", tmp_path)


@pytest.mark.parametrize("name", sorted(EVALUATION_SETS))
def test_wrong_root_is_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_evaluation_set(name, tmp_path / "missing")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_jpeg_is_not_taken_for_a_grey_picture(tmp_path: Path) -> None:
    save_image(tmp_path / "a.jpg", 64, 64)
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(InputError, match=r"a\.jpg: truncated"):
        read_color(tmp_path / "a.jpg")


def test_disparity_subtracts_one_and_keeps_invalid_zero(tmp_path: Path) -> None:
    stored = np.array([[0, 1, 257, 65535]], dtype=np.uint16)
    got = read_disparity(save_picture(tmp_path / "d.png", stored))
    np.testing.assert_array_equal(got, np.array([[0, 0, 1, 65534 / 256]], dtype=np.float32))
    with pytest.raises(InputError, match="16-bit grey"):
        read_disparity(save_picture(tmp_path / "e.png", stored.astype(np.uint8)))
    with pytest.raises(InputError, match="grey"):
        read_instances(save_picture(tmp_path / "f.png", np.zeros((2, 2, 3), np.uint8) + np.arange(3, dtype=np.uint8)))


def test_smiyc_track_leaves_out_frames_without_public_labels(tmp_path: Path) -> None:
    for name in ("validation0000", "gravel_1"):
        save_image(tmp_path / "images" / f"{name}.jpg")
    labels = save_label(tmp_path / "labels_masks" / "validation0000_labels_semantic.png", 0, 1, 255)
    save_picture(tmp_path / "labels_masks" / "validation0000_labels_semantic_color.png", np.zeros((2, 2, 3), np.uint8))
    (frame,) = frames_of("smiyc_obstacle", tmp_path)
    np.testing.assert_array_equal(frame.anomaly, labels)
    (tmp_path / "labels_masks" / "validation0000_labels_semantic.png").unlink()
    with pytest.raises(InputError, match=r"no FRAME_labels_semantic\.png for any frame"):
        open_evaluation_set("smiyc_anomaly", tmp_path)


def test_road_anomaly(tmp_path: Path) -> None:
    save_image(tmp_path / "frames" / "animals01.jpg")
    labels = save_label(tmp_path / "frames" / "animals01.labels" / "labels_semantic.png", 0, 2, 0)
    frame = open_evaluation_set("road_anomaly", tmp_path)[0]
    np.testing.assert_array_equal(frame.anomaly, labels // 2)


def test_fishyscapes_lost_and_found_finds_the_image_it_names(tmp_path: Path) -> None:
    labels = save_label(tmp_path / "fs" / "0000_04_Maurener_Weg_8_000000_000030_labels.png", 0, 1, 255)
    images = tmp_path / "leftImg8bit" / "train" / "04_Maurener_Weg_8"
    save_image(images / "04_Maurener_Weg_8_000000_000020_leftImg8bit.png")
    with pytest.raises(InputError, match=r"the image 04_Maurener_Weg_8_000000_000030_leftImg8bit\.png is missing"):
        open_evaluation_set("fishyscapes_lost_and_found", tmp_path)
    rgb = save_image(images / "04_Maurener_Weg_8_000000_000030_leftImg8bit.png")
    frame = open_evaluation_set("fishyscapes_lost_and_found", tmp_path)[0]
    np.testing.assert_array_equal(frame.image, rgb)
    np.testing.assert_array_equal(frame.anomaly, labels)


def test_fishyscapes_static_adds_its_overlay(tmp_path: Path) -> None:
    save_label(tmp_path / "0003_frankfurt_000000_000294_labels.png", 0, 1, 255)
    rgb = save_image(tmp_path / "leftImg8bit" / "val" / "frankfurt" / "frankfurt_000000_000294_leftImg8bit.png")
    overlay = np.random.default_rng(0).integers(-200, 200, rgb.shape).astype(np.int32)
    with pytest.raises(InputError, match=r"the overlay 0003\*rgb\.npz is missing"):
        open_evaluation_set("fishyscapes_static", tmp_path)
    np.savez(tmp_path / "0003_frankfurt_rgb.npz", rgb=overlay)
    frame = open_evaluation_set("fishyscapes_static", tmp_path)[0]
    np.testing.assert_array_equal(frame.image, np.clip(rgb.astype(int) + overlay, 0, 255))


def test_street_hazards_classes_anomalies_and_towns(tmp_path: Path) -> None:
    for town in ("t5", "t6"):
        save_image(tmp_path / "test" / "images" / "test" / town / "0.png")
        save_label(tmp_path / "test" / "annotations" / "test" / town / "0.png", *range(1, 15))
    frames = frames_of("street_hazards", tmp_path)
    assert [frame.group for frame in frames] == ["t5", "t6"]
    semantic = frames[0].semantic.ravel()[:14].tolist()
    assert semantic == [0, 1, 2, VOID, 3, 4, 5, 6, 7, 8, 9, 10, 11, VOID]
    assert frames[0].anomaly.ravel()[:14].tolist() == [0] * 13 + [1]


def test_cityscapes_void_as_unknown(tmp_path: Path) -> None:
    values = [0, 1, 2, 3, 255, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30, 7, 33]
    for files in open_evaluation_set("cityscapes_void", cityscapes(tmp_path, "val")).files:
        save_label(files.label, *values)
    frame = open_evaluation_set("cityscapes_void", tmp_path)[0]
    assert frame.anomaly.ravel()[: len(values)].tolist() == [255] * 5 + [1] * 11 + [0] * 2


def test_stretched_cityscapes_gets_its_geometry_back(tmp_path: Path) -> None:
    save_image(tmp_path / "val" / "image" / "ulm_1.jpg", 8, 8)
    labels = np.arange(64, dtype=np.uint8).reshape(8, 8) % 19
    save_picture(tmp_path / "val" / "label" / "ulm_1.png", labels)
    for root in (tmp_path, tmp_path / "val"):
        frame = open_evaluation_set("cityscapes_640", root)[0]
        assert frame.image.shape == (8, 16, 3)
        np.testing.assert_array_equal(frame.semantic, np.repeat(labels, 2, axis=1))


def _lost_and_found(root: Path, name: str, geometry: bool = False) -> None:
    at = f"test/{'_'.join(name.split('_')[:-2])}/{name}"
    save_image(root / "leftImg8bit" / f"{at}_leftImg8bit.png")
    save_label(root / "gtCoarse" / f"{at}_gtCoarse_labelIds.png", 0, 1, 2, 43)
    save_label(root / "gtCoarse" / f"{at}_gtCoarse_labelTrainIds.png", 255, 1, 0, 2)
    if geometry:
        ids = np.resize(np.array([1000, 1, 2001, 43002], np.uint16), (HEIGHT, WIDTH))
        save_picture(root / "gtCoarse" / f"{at}_gtCoarse_instanceIds.png", ids)
        save_picture(root / "disparity" / f"{at}_disparity.png", np.full((HEIGHT, WIDTH), 2561, np.uint16))
        camera = {"extrinsic": {"baseline": 0.2, "pitch": 0.04, "roll": 0, "yaw": 0, "x": 1, "y": 0, "z": 1.2}}
        camera["intrinsic"] = {"fx": 2263.5, "fy": 2250.4, "u0": 1079.0, "v0": 515.0}
        path = root / "camera" / f"{at}_camera.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(camera))


def test_lost_and_found_reads_label_ids_and_geometry(tmp_path: Path) -> None:
    _lost_and_found(tmp_path, "02_Hanns_Klemm_Str_44_000000_000020", geometry=True)
    frame = open_evaluation_set("lost_and_found", tmp_path)[0]
    assert frame.anomaly.ravel()[:4].tolist() == [255, 0, 1, 1]
    assert frame.instances.ravel()[:4].tolist() == [0, 0, 2001, 43002]
    assert frame.disparity[0, 0] == 10.0
    assert (frame.camera.fx, frame.camera.baseline, frame.camera.mount_height) == (2263.5, 0.2, 1.2)


def test_lost_and_found_without_geometry_and_without_known_objects(tmp_path: Path) -> None:
    _lost_and_found(tmp_path, "02_Hanns_Klemm_Str_44_000000_000020")
    _lost_and_found(tmp_path, "15_Rechbergstr_Deckenpfronn_000000_000010")
    assert len(open_evaluation_set("lost_and_found", tmp_path)) == 2
    (frame,) = frames_of("smiyc_lost_and_found_no_known", tmp_path)
    assert frame.disparity is frame.camera is frame.instances is None


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "count", "anomalous"),
    [("road_anomaly21_val", 10, 1317063), ("road_obstacle21_val", 30, 129782), ("lost_and_found_sample", 8, 25817)],
)
def test_real_anomaly_frames(shared_data: Path, name: str, count: int, anomalous: int) -> None:
    dataset = open_evaluation_set(name, shared_data / name)
    assert len(dataset) == count
    assert sum(int((read_labels(files.label) == 1).sum()) for files in dataset.files) == anomalous
    frame = dataset[0]
    assert frame.image.shape[:2] == frame.anomaly.shape
    assert frame.semantic is None
