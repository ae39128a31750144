# SPDX-License-Identifier: Apache-2.0
"""Sources of negatives in their official layouts; recipes: what is drawn from one, how large and how often."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import official_layouts as layouts
import pytest
import torch

from densehybrid_ros.datasets.check import check_negatives
from densehybrid_ros.datasets.negative_sets import (
    RECIPES,
    NegativePicture,
    NegativeSet,
    Region,
    draw_box,
    draw_masks,
    draw_object,
    load_cutouts,
    regions_of_ids,
)
from densehybrid_ros.datasets.registry import NEGATIVE_SETS, open_negatives
from densehybrid_ros.errors import InputError


def folder(root: Path) -> Path:
    picture = np.zeros((6, 9, 4), np.uint8)
    picture[2:5, 3:8] = (10, 20, 30, 255)
    picture[2, 3, 3] = 40
    root.mkdir(parents=True, exist_ok=True)
    layouts.save_image(root / "plain.png")
    cv2.imwrite(str(root / "zebra_07.png"), picture[:, :, [2, 1, 0, 3]])
    return root


WRITERS: dict[str, Callable[[Path], Path]] = {"folder": folder, "ade20k": layouts.ade20k, "coco": layouts.coco}


def placed(picture: NegativePicture, region: Region) -> np.ndarray:
    """The region's mask in the whole picture."""
    whole = np.zeros(picture.image.shape[:2], np.uint8)
    height, width = region.mask.shape
    whole[region.top : region.top + height, region.left : region.left + width] = region.mask
    return whole


def test_every_source_is_tested_here_and_an_unknown_name_lists_them(tmp_path: Path) -> None:
    assert set(WRITERS) == set(NEGATIVE_SETS)
    with pytest.raises(InputError, match=r"negatives\.dataset=lvis: unknown; choose one of folder, "):
        open_negatives("lvis", tmp_path)


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_pictures_can_be_read_in_other_processes(name: str, tmp_path: Path) -> None:
    source = open_negatives(name, WRITERS[name](tmp_path))
    there = pickle.loads(pickle.dumps(source))
    assert len(there) == len(source) >= 1
    for index in range(len(source)):
        picture = there[index]
        for region in (*picture.objects, *picture.classes):
            assert region.mask.dtype == np.uint8
            assert region.mask.any(axis=0)[[0, -1]].all(), "the box fits tightly"
            assert region.mask.any(axis=1)[[0, -1]].all()
            assert placed(picture, region).max() == 255
    assert check_negatives(source) == []
    with pytest.raises(InputError, match="none") as caught:
        open_negatives(name, tmp_path / "none")
    assert "\n" not in str(caught.value)


def test_regions_of_ids_are_tight_boxes_with_masks() -> None:
    ids = np.array([[0, 5, 5, 0], [0, 5, 300, 300], [0, 0, 0, 300]])
    five, many = regions_of_ids(ids)
    assert (five.top, five.left) == (0, 1)
    assert five.mask.tolist() == [[255, 255], [255, 0]]
    assert (many.top, many.left, many.mask.tolist()) == (1, 2, [[255, 255], [0, 255]])


def test_a_folder_gives_cutouts_and_plain_pictures(tmp_path: Path) -> None:
    plain, cutout = (open_negatives("folder", folder(tmp_path))[index] for index in (0, 1))
    assert plain.objects == ()
    assert plain.image.shape == (6, 8, 3)
    (region,) = cutout.objects
    assert (region.top, region.left, region.mask.shape) == (2, 3, (3, 5))
    assert cutout.image[3, 4].tolist() == [10, 20, 30]
    assert region.mask[0, 0] == 40
    (tmp_path / "plain.png").unlink()
    (loaded,) = load_cutouts(tmp_path)
    assert loaded.shape == (4, 3, 5)
    assert loaded[:, 1, 1].tolist() == [10, 20, 30, 255]


def test_ade20k_has_classes_and_where_they_are_there_objects(tmp_path: Path) -> None:
    root = layouts.ade20k(tmp_path)
    picture = open_negatives("ade20k", root)[0]
    assert len(picture.classes) == 2
    places = [(region.top, region.left, region.mask.shape) for region in picture.objects]
    assert places == [(1, 1, (2, 2)), (1, 3, (2, 2))]
    shutil.rmtree(root / "annotations_instance")
    picture = open_negatives("ade20k", root)[0]
    assert (len(picture.classes), picture.objects) == (2, ())


def test_ade20k_names_values_and_files_at_fault(tmp_path: Path) -> None:
    source = open_negatives("ade20k", layouts.ade20k(tmp_path))
    label = tmp_path / "annotations" / "training" / "ADE_train_00000001.png"
    layouts.save_picture(label, layouts.label_map(151))
    (fault,) = check_negatives(source)
    assert fault == f"{label}: label value 151 is not one of this data set (0..150)"
    label.unlink()
    with pytest.raises(InputError, match=r"ADE_train_00000001\.jpg: its label is missing"):
        open_negatives("ade20k", tmp_path)


def test_coco_leaves_crowds_out_and_draws_polygons(tmp_path: Path) -> None:
    source = open_negatives("coco", layouts.coco(tmp_path))
    assert len(source) == 1, "the second picture has but a crowd"
    elephant, _ = source[0].objects
    drawn = placed(source[0], elephant)
    assert (drawn[3:8, 2:7] == 255).all()
    assert int((drawn > 0).sum()) <= 25 + 11, "the border may differ"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("images"), r"instances_val2017\.json: not in the format of COCO's instances"),
        (lambda c: c["annotations"].clear(), r"instances_val2017\.json: names no picture with an object"),
        (lambda c: c["annotations"][0].update(segmentation={"counts": [3]}), "not in the format of COCO's instances"),
        (lambda c: c["images"][0].update(file_name="9.jpg"), r"9\.jpg: is missing, but .*instances_val2017\.json"),
        (lambda c: c["images"][0].update(height=11), r"0001\.jpg: is 12x10, but its annotation says 12x11"),
    ],
)
def test_cocos_table_is_checked(change: Callable[[dict], object], message: str, tmp_path: Path) -> None:
    table = layouts.coco(tmp_path) / "annotations" / "instances_val2017.json"
    content = json.loads(table.read_text())
    change(content)
    table.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        open_negatives("coco", tmp_path)[0]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "holds no pictures"),
        (np.zeros((4, 4, 3), np.uint8), "needs an alpha channel"),
        (np.zeros((4, 4, 4), np.uint8), "that is opaque somewhere"),
    ],
)
def test_what_is_no_cutout_is_refused(tmp_path: Path, image: np.ndarray | None, message: str) -> None:
    if image is not None:
        cv2.imwrite(str(tmp_path / "a.png"), image)
    with pytest.raises(InputError, match=message):
        load_cutouts(tmp_path)


CROP = (96, 128)
COLORS = np.array([0, 10, 61, 133, 250], np.uint8)


def quarters(objects: bool = True, classes: bool = True) -> NegativeSet:
    """One picture whose four quarters are classes, each of one colour, and one triangular object."""
    labels = np.kron(np.array([[1, 2], [3, 4]]), np.ones((40, 60), int))
    image = np.stack([np.take(COLORS, labels)] * 3, axis=2)
    found = (Region(5, 10, np.triu(np.full((20, 20), 255, np.uint8))),) if objects else ()
    picture = NegativePicture("quarters.png", image, found, regions_of_ids(labels) if classes else ())
    return NegativeSet("quarters", [picture], lambda item: item)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_cutouts_fit_the_crop_and_repeat_with_the_seed(name: str) -> None:
    first = [RECIPES[name](quarters(), CROP, rng(seed)) for seed in range(20)]
    second = [RECIPES[name](quarters(), CROP, rng(seed)) for seed in range(20)]
    for one, other in zip(first, second, strict=True):
        if one is None or other is None:
            assert one is other
            continue
        assert torch.equal(one, other)
        assert one.dtype == torch.uint8
        assert one.shape[0] == 4
        assert one.shape[1] <= CROP[0]
        assert one.shape[2] <= CROP[1]
        assert (one[3] >= 128).any()


def test_an_object_comes_with_its_mask_and_size_else_a_class() -> None:
    cutout = draw_object(quarters(), CROP, rng())
    np.testing.assert_array_equal(cutout[3].numpy(), np.triu(np.full((20, 20), 255)))
    assert (cutout[0] == 10).all()
    assert draw_object(quarters(objects=False), CROP, rng()).shape == (4, 40, 60)
    with pytest.raises(InputError, match=r"quarters\.png: like 19 others without an object; take"):
        draw_object(quarters(objects=False, classes=False), CROP, rng())


def is_rectangle(alpha: torch.Tensor) -> bool:
    rows, columns = torch.nonzero(alpha.any(1)).flatten(), torch.nonzero(alpha.any(0)).flatten()
    return bool((alpha[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] == 255).all())


def test_masks_are_rectangles_or_unions_of_classes() -> None:
    source, rectangles = quarters(), 0
    for seed in range(100):
        cutout = draw_masks(source, CROP, rng(seed))
        assert cutout.shape == (4, 36, 36)  # 3/8 of 96
        assert set(cutout[3].unique().tolist()) <= {0, 255}
        inside = cutout[3] == 255
        if is_rectangle(cutout[3]) and {int(inside.any(dim).sum()) for dim in (0, 1)} <= {16, 24, 32}:
            rectangles += 1
            continue
        shares = [float((cutout[0][inside] == int(value)).float().mean()) for value in COLORS[1:]]
        assert sorted(shares)[1] < 0.05  # no third class; borders are a mixture and count for none
    assert 25 < rectangles < 75  # half of them
    assert is_rectangle(draw_masks(quarters(objects=False, classes=False), CROP, rng())[3])


def test_boxes_take_one_to_fifteen_percent_and_half_of_the_crops() -> None:
    cutouts = [draw_box(quarters(), (512, 512), rng(seed)) for seed in range(300)]
    pasted = [cutout for cutout in cutouts if cutout is not None]
    assert 110 < len(pasted) < 190
    sides = sorted({cutout.shape[1] for cutout in pasted})
    assert sides[0] == round(0.01 * 512)
    assert sides[-1] == round(0.15 * 512)
    assert len(sides) == 15
    assert all(cutout.shape[1] == cutout.shape[2] for cutout in pasted)  # the box is a square
    assert all(set(cutout[3].unique().tolist()) <= {0, 255} for cutout in pasted)
    largest = max(pasted, key=lambda cutout: cutout.shape[1])
    assert 0.4 < (largest[3] == 255).float().mean() < 0.6  # the triangle, not its box
