# SPDX-License-Identifier: Apache-2.0
"""Training sets in their official layouts: what they read, and what they refuse in one line."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import official_layouts as layouts
import pytest

from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.datasets.registry import TRAINING_SETS, open_training_set
from densehybrid_ros.datasets.training_frames import KNOWN, UNKNOWN, hold_in_memory
from densehybrid_ros.errors import InputError

WRITERS: dict[str, Callable[[Path], Path]] = {
    "folder": layouts.own_folder,
    "cityscapes": layouts.cityscapes,
    "cityscapes_640": layouts.cityscapes_640,
    "idd_lite": layouts.idd_lite,
    "mapillary_vistas": layouts.mapillary,
    "wilddash2": layouts.wilddash_panoptic,
    "street_hazards": layouts.street_hazards,
}


def row(frames: LabelledSet, index: int = 0) -> list[int]:
    """The first values of a frame's labels."""
    return frames[index].semantic[0, :4].tolist()


def test_every_data_set_is_tested_here() -> None:
    assert set(WRITERS) == set(TRAINING_SETS)


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_frames_can_be_read_in_other_processes(name: str, tmp_path: Path) -> None:
    frames = open_training_set(name, WRITERS[name](tmp_path))
    there = pickle.loads(pickle.dumps(frames))
    assert len(there) == len(frames) > 1
    for index in range(len(frames)):
        frame = there[index]
        assert frame.image.dtype == frame.semantic.dtype == np.uint8
        assert frame.image.shape == (*frame.semantic.shape, 3)
        assert set(np.unique(frame.semantic)) <= {*range(len(frames.classes)), KNOWN, 255}
        np.testing.assert_array_equal(frame.semantic, frames[index].semantic)


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_a_missing_folder_a_split_and_a_frame_without_label_are_one_line(name: str, tmp_path: Path) -> None:
    root = WRITERS[name](tmp_path / "data")
    frames = open_training_set(name, root)
    frames.files[0].label.unlink()
    for arguments, part in (
        ((tmp_path / "none", "train"), "none"),
        ((root, "test"), "split test"),
        ((root, "train"), frames.files[0].image.name),
    ):
        with pytest.raises(InputError, match=part) as caught:
            open_training_set(name, *arguments)
        assert "\n" not in str(caught.value)


def test_an_unknown_name_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.sets\.kitti: unknown; choose one of folder, "):
        open_training_set("kitti", tmp_path)


@pytest.mark.parametrize("name", sorted(set(WRITERS) - {"wilddash2"}))
def test_a_value_outside_the_table_names_file_and_value(name: str, tmp_path: Path) -> None:
    frames = open_training_set(name, WRITERS[name](tmp_path))
    label = frames.files[1].label
    layouts.save_picture(label, np.full(cv2.imread(str(label)).shape[:2], 77, np.uint8))
    with pytest.raises(InputError, match=rf"{label.name}: label value 77 is not one of this data set"):
        frames[1]


def test_sizes_must_agree(tmp_path: Path) -> None:
    frames = open_training_set("cityscapes", layouts.cityscapes(tmp_path))
    layouts.save_image(frames.files[0].image, 4, 4)
    with pytest.raises(InputError, match=r"labelIds\.png: is 8x6, but .* is 4x4"):
        frames[0]


def test_cityscapes_maps_label_ids_to_train_ids(tmp_path: Path) -> None:
    frames = open_training_set("cityscapes", layouts.cityscapes(tmp_path))
    assert row(frames) == [0, 255, 18, 255]
    assert frames.files[0].group == "aachen"


def test_the_stretched_edition_gets_its_geometry_back(tmp_path: Path) -> None:
    frames = open_training_set("cityscapes_640", layouts.cityscapes_640(tmp_path, "val"), "val")
    assert frames[0].image.shape == (layouts.HEIGHT, 2 * layouts.HEIGHT, 3)


def test_street_hazards_has_twelve_classes_and_towns_with_the_same_numbers(tmp_path: Path) -> None:
    frames = open_training_set("street_hazards", layouts.street_hazards(tmp_path))
    assert len(frames) == 2
    assert len(frames.classes) == 12
    assert row(frames) == [0, 255, 3, 11]
    assert [item.group for item in frames.files] == ["t1", "t2"]
    layouts.save_picture(frames.files[0].label, layouts.label_map(14))
    with pytest.raises(InputError, match="label value 14"):
        frames[0]


@pytest.mark.parametrize(("version", "expected"), [("v1.1", [0, 0, 13, 255]), ("v1.2", [0, 0, 13, 255]),
                                                   ("v2.0", [0, 0, 6, 255])])  # fmt: skip
def test_mapillary_reads_palette_indices_by_its_configuration(
    version: str, expected: list[int], tmp_path: Path
) -> None:
    frames = open_training_set("mapillary_vistas", layouts.mapillary(tmp_path, version))
    assert row(frames) == expected


def test_mapillary_takes_version_1_2_where_both_are_there(tmp_path: Path) -> None:
    layouts.mapillary(layouts.mapillary(tmp_path, "v2.0", "validation"), "v1.2", "validation")
    frames = open_training_set("mapillary_vistas", tmp_path, "val")
    assert frames.files[0].label.parent.parent.name == "v1.2"
    (tmp_path / "config_v1.2.json").unlink()
    assert open_training_set("mapillary_vistas", tmp_path, "val").files[0].label.parent.parent.name == "v2.0"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"has no config_v1\.2\.json"),
        ("{}", r"config_v1\.2\.json: no configuration of Mapillary Vistas"),
        (json.dumps({"labels": [{"name": "weather--fog"}]}), "label 0 is 'weather--fog', which is in no table"),
    ],
)
def test_mapillarys_configuration_is_checked(content: str | None, message: str, tmp_path: Path) -> None:
    config = layouts.mapillary(tmp_path) / "config_v1.2.json"
    config.unlink()
    if content is not None:
        config.write_text(content)
    with pytest.raises(InputError, match=message):
        open_training_set("mapillary_vistas", tmp_path)


def test_wilddash_reads_panoptic_segments_by_category_name(tmp_path: Path) -> None:
    root = layouts.wilddash_panoptic(tmp_path)
    frames = open_training_set("wilddash2", root)
    assert frames[0].semantic[0].tolist() == [255, 255, 0, 0, 13, 13, 255, 255]
    held_out = open_training_set("wilddash2", root, "val")
    assert [item.image.stem for item in held_out.files] == ["at0000_100000", "at0005_100000"]
    assert len(frames) == 4
    assert not {item.image for item in frames.files} & {item.image for item in held_out.files}


@pytest.mark.parametrize("suffix", ["", "_labelIds"])
def test_wilddash_reads_semantic_ids_too(suffix: str, tmp_path: Path) -> None:
    frames = open_training_set("wilddash2", layouts.wilddash_semantic(tmp_path, suffix))
    assert row(frames) == [0, 14, 0, 255]


def test_wilddash_names_what_its_table_lacks(tmp_path: Path) -> None:
    table = layouts.wilddash_panoptic(tmp_path) / "panoptic.json"
    original = json.loads(table.read_text())
    frames = open_training_set("wilddash2", tmp_path)
    layouts.save_picture(frames.files[0].label, np.full((layouts.HEIGHT, layouts.WIDTH, 3), (9, 0, 0), np.uint8))
    with pytest.raises(InputError, match=r"at0001_100000\.png: label value 9 is no segment"):
        frames[0]
    without = {**original, "annotations": original["annotations"][:1]}
    category = {**original, "categories": [{"id": 7, "name": "comet"}]}
    for content, message in (
        (without, r"at0001_100000\.png: .*panoptic\.json has no annotation of it"),
        (category, "category 7 is 'comet', which is in no table"),
        ({**original, "categories": []}, r"at0001_100000\.png: segment 7 is of category 7, which"),
        ({}, r"panoptic\.json: not in COCO's panoptic format"),
    ):
        table.write_text(json.dumps(content))
        with pytest.raises(InputError, match=message):
            open_training_set("wilddash2", tmp_path)


def test_a_subset_is_spread_evenly(tmp_path: Path) -> None:
    frames = open_training_set("wilddash2", layouts.wilddash_panoptic(tmp_path, 11))
    few = frames.subset(3)
    assert [frames.files.index(item) for item in few.files] == [0, 4, 7]
    np.testing.assert_array_equal(few[1].semantic, frames[4].semantic)
    assert frames.subset(None) is frames.subset(100) is frames


@pytest.mark.data
def test_the_real_stretched_edition_opens(shared_data: Path) -> None:
    frames = open_training_set("cityscapes_640", shared_data / "cityscapes_640", "val")
    assert len(frames) == 251
    assert frames[100].image.shape == (640, 1280, 3)


def test_void_pictures_of_cityscapes_640_tell_real_unknowns(tmp_path: Path) -> None:
    frames = open_training_set("cityscapes_640", layouts.cityscapes_640_void(tmp_path))
    frame = frames[0]
    assert frame.anomaly is not None
    assert frame.semantic[0, :9:2].tolist() == [255, 255, 255, 255, 10]
    assert frame.anomaly[0, :9:2].tolist() == [1, 1, 255, 255, 0]
    held = hold_in_memory(frames, with_unknown=True).labels[0, 0, :9:2]
    assert held.tolist() == [UNKNOWN, UNKNOWN, 255, 255, 10]
    assert hold_in_memory(frames).labels[0, 0, :9:2].tolist() == [255, 255, 255, 255, 10]


def test_the_own_car_is_a_car_in_training_and_ignored_in_validation(tmp_path: Path) -> None:
    for split, expected in (("train", 13), ("val", 255)):
        frame = open_training_set("cityscapes_640", layouts.cityscapes_640_void(tmp_path, split), split)[0]
        assert frame.semantic is not None
        assert frame.anomaly is not None
        assert set(frame.semantic[-1].tolist()) == {expected}
        assert set(frame.anomaly[-1].tolist()) == {255}


def test_idd_lite_names_road_and_sky_and_what_is_known_without_a_class(tmp_path: Path) -> None:
    for split, known in (("train", KNOWN), ("val", 255)):
        frame = open_training_set("idd_lite", layouts.idd_lite(tmp_path, split), split)[0]
        assert frame.semantic is not None
        assert frame.image.shape == (454, 640, 3)
        assert frame.semantic[0, 40::80].tolist() == [0, known, 255, 255, known, known, 10, 255]
