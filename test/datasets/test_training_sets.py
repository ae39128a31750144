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

from densehybrid_ros.datasets.check import check_frames
from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.datasets.registry import TRAINING_SETS, open_training_set
from densehybrid_ros.datasets.road_sets import MAPILLARY_VISTAS, WILDDASH
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.datasets.training_frames import KNOWN, UNKNOWN, hold_in_memory
from densehybrid_ros.errors import InputError

WRITERS: dict[str, Callable[[Path], Path]] = {
    "folder": layouts.own_folder,
    "cityscapes": layouts.cityscapes,
    "cityscapes_640": layouts.cityscapes_640,
    "idd_lite": layouts.idd_lite,
    "mapillary_vistas": layouts.mapillary,
    "wilddash2": layouts.wilddash,
    "street_hazards": layouts.street_hazards,
}


def row(frames: LabelledSet) -> list[int]:
    """The first values of the first frame's labels."""
    return frames[0].semantic[0, :4].tolist()


def test_every_data_set_is_tested_here_and_an_unknown_name_lists_them(tmp_path: Path) -> None:
    assert set(WRITERS) == set(TRAINING_SETS)
    with pytest.raises(InputError, match=r"data\.sets\.kitti: unknown; choose one of folder, "):
        open_training_set("kitti", tmp_path)


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
def test_what_is_wrong_is_one_line_that_names_it(name: str, tmp_path: Path) -> None:
    root = WRITERS[name](tmp_path / "data")
    frames = open_training_set(name, root)
    label = frames.files[1].label
    layouts.save_picture(label, np.full(cv2.imread(str(label)).shape[:2], 177, np.uint8))
    with pytest.raises(InputError, match=rf"{label.name}: label value 177 is not one of this data set"):
        frames[1]
    label.unlink()
    for arguments, part in (
        ((tmp_path / "none", "train"), "none"),
        ((root, "test"), "split test"),
        ((root, "train"), frames.files[1].image.name),
    ):
        with pytest.raises(InputError, match=part) as caught:
            open_training_set(name, *arguments)
        assert "\n" not in str(caught.value)


def test_a_look_through_a_set_names_files_that_are_wrong(tmp_path: Path) -> None:
    frames = open_training_set("wilddash2", layouts.wilddash(tmp_path, count=31))
    assert check_frames(frames).faults == []
    frames.files[2].image.write_bytes(b"no picture")
    frames.files[9].label.unlink()
    layouts.save_image(frames.files[11].image, 4, 4)
    faults = [
        f"{frames.files[2].image}: truncated or not a picture",
        f"{frames.files[9].label}: can't be read (No such file or directory)",
        f"{frames.files[11].label}: is 8x6, but {frames.files[11].image} is 4x4; they must agree",
    ]
    assert check_frames(frames).faults == faults
    assert check_frames(frames, stop_after=2).faults == faults[:2]
    with pytest.raises(InputError, match="truncated or not a picture"):
        hold_in_memory(frames)


def test_a_set_without_a_labelled_pixel_is_a_fault(tmp_path: Path) -> None:
    frames = open_training_set("cityscapes_640", layouts.cityscapes_640(tmp_path))
    for files in frames.files:
        layouts.save_picture(files.label, np.full((layouts.HEIGHT, layouts.HEIGHT), 255, np.uint8))
    (fault,) = check_frames(frames).faults
    assert fault == "cityscapes_640: none of 2 frames has a labelled pixel: all are 255 (void); check the labels"


def test_cityscapes_and_street_hazards_map_numbers_to_train_ids(tmp_path: Path) -> None:
    frames = open_training_set("cityscapes", layouts.cityscapes(tmp_path))
    assert (row(frames), frames[0].group) == ([0, 255, 18, 255], "aachen")
    frames = open_training_set("street_hazards", layouts.street_hazards(tmp_path))
    assert (row(frames), len(frames.classes)) == ([0, 255, 3, 11], 12)
    assert [frames[index].group for index in range(len(frames))] == ["t1", "t2"]  # with the same numbers
    layouts.save_picture(frames.files[0].label, layouts.label_map(14))
    with pytest.raises(InputError, match="label value 14"):
        frames[0]


@pytest.mark.parametrize(
    ("version", "expected"), [("v1.1", [0, 0, 13, 255]), ("v1.2", [0, 0, 13, 255]), ("v2.0", [0, 0, 6, 255])]
)
def test_mapillary_reads_palette_indices_by_its_configuration(
    version: str, expected: list[int], tmp_path: Path
) -> None:
    assert row(open_training_set("mapillary_vistas", layouts.mapillary(tmp_path, version))) == expected


def test_mapillary_takes_version_1_2_where_both_are_there(tmp_path: Path) -> None:
    layouts.mapillary(layouts.mapillary(tmp_path, "v2.0", "validation"), "v1.2", "validation")
    for version in ("v1.2", "v2.0"):
        frames = open_training_set("mapillary_vistas", tmp_path, "val")
        assert frames.files[0].label.parent.parent.name == version
        (tmp_path / f"config_{version}.json").unlink()


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


def test_mapillarys_longest_beginning_counts(tmp_path: Path) -> None:
    expected = {
        "construction--flat--parking-aisle": 0,
        "construction--barrier--concrete-block": 255,
        "construction--structure--tunnel": 2,
        "human--person--person-group": 11,
        "object--support--pole-group": 5,
        "object--traffic-sign--back": 255,
        "object--traffic-sign--temporary-front": 7,
        "object--vehicle--other-vehicle": 255,
    }
    config = layouts.mapillary(tmp_path) / "config_v1.2.json"
    config.write_text(json.dumps({"labels": [{"name": name} for name in expected]}))
    assert open_training_set("mapillary_vistas", tmp_path).semantic == dict(enumerate(expected.values()))


@pytest.mark.parametrize("suffix", ["", "_labelIds"])
def test_wilddash_reads_category_ids_and_holds_every_fifth_frame_out(suffix: str, tmp_path: Path) -> None:
    root = layouts.wilddash(tmp_path, suffix, 6)
    frames, held_out = open_training_set("wilddash2", root), open_training_set("wilddash2", root, "val")
    assert row(frames) == [0, 14, 0, 255]
    assert [item.image.stem for item in held_out.files] == ["at0", "at5"]
    assert [item.image.stem for item in frames.files] == ["at1", "at2", "at3", "at4"]


def test_tables_name_classes_of_cityscapes_and_each_is_reached() -> None:
    for classes in (MAPILLARY_VISTAS, WILDDASH.values()):
        assert set(classes) - {""} == {item.name for item in CITYSCAPES_CLASSES}
    assert len(WILDDASH) == 81


def test_a_subset_is_spread_evenly(tmp_path: Path) -> None:
    frames = open_training_set("wilddash2", layouts.wilddash(tmp_path, count=11))
    few = frames.subset(3)
    assert [frames.files.index(item) for item in few.files] == [0, 4, 7]
    assert frames.subset(None) is frames.subset(100) is frames


def test_void_pictures_of_cityscapes_640_tell_real_unknowns(tmp_path: Path) -> None:
    frames = open_training_set("cityscapes_640", layouts.cityscapes_640_void(tmp_path))
    frame = frames[0]
    assert frame.image.shape == (layouts.HEIGHT, 2 * layouts.HEIGHT, 3)
    assert frame.semantic[0, :9:2].tolist() == [255, 255, 255, 255, 10]
    assert frame.anomaly[0, :9:2].tolist() == [1, 1, 255, 255, 0]
    held = hold_in_memory(frames, with_unknown=True).labels[0, 0, :9:2]
    assert held.tolist() == [UNKNOWN, UNKNOWN, 255, 255, 10]
    assert hold_in_memory(frames).labels[0, 0, :9:2].tolist() == [255, 255, 255, 255, 10]


def test_the_own_car_is_a_car_in_training_and_ignored_in_validation(tmp_path: Path) -> None:
    for split, expected in (("train", 13), ("val", 255)):
        frame = open_training_set("cityscapes_640", layouts.cityscapes_640_void(tmp_path, split), split)[0]
        assert set(frame.semantic[-1].tolist()) == {expected}
        assert set(frame.anomaly[-1].tolist()) == {255}


def test_idd_lite_names_road_and_sky_and_what_is_known_without_a_class(tmp_path: Path) -> None:
    for split, known in (("train", KNOWN), ("val", 255)):
        frame = open_training_set("idd_lite", layouts.idd_lite(tmp_path, split), split)[0]
        assert frame.image.shape == (454, 640, 3)
        assert frame.semantic[0, 40::80].tolist() == [0, known, 255, 255, known, known, 10, 255]
