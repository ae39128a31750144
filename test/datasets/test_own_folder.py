# SPDX-License-Identifier: Apache-2.0
"""Own frames in a folder: layouts, splits, classes.yaml, and classes matched by name."""

from __future__ import annotations

from pathlib import Path

import official_layouts as layouts
import pytest

from densehybrid_ros.datasets.folder import open_folder, open_folder_training
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.errors import InputError

CLASSES = "classes:\n- {id: 4, name: track, drivable: true}\n- {id: [7, 8], name: car, color: [1, 2, 3]}\nunknown: 9\n"
VALUES = (4, 7, 8, 9, 255)


def write(root: Path, *pairs: tuple[str, str], extra: str = "") -> Path:
    for image, label in pairs:
        layouts.save_image(root / image)
        layouts.save_picture(root / label, layouts.label_map(*VALUES))
    (root / "classes.yaml").write_text(CLASSES + extra)
    return root


def names(root: Path, split: str) -> list[str]:
    return [files.image.relative_to(root).as_posix() for files in open_folder_training(root, split).files]


@pytest.mark.parametrize(
    ("train", "val"),
    [
        (("train/image/a.jpg", "train/label/a.png"), ("val/image/b.png", "val/label/b.png")),
        (("images/train/x/a.png", "labels/train/x/a.png"), ("images/val/x/a.png", "labels/val/x/a.png")),
        (("train/a.jpg", "train/a_label.png"), ("val/c/a.jpg", "val/c/a_label.png")),
    ],
)
def test_folders_of_splits_in_the_usual_layouts(tmp_path: Path, train: tuple, val: tuple) -> None:
    root = write(tmp_path, train, val)
    assert (names(root, "train"), names(root, "val")) == ([train[0]], [val[0]])
    assert len(open_folder(root)) == 1
    for path in val:
        (root / path).unlink()
    with pytest.raises(InputError, match="holds no pictures"):
        open_folder_training(root, "val")
    (root / "classes.yaml").unlink()
    with pytest.raises(InputError, match=r"classes\.yaml: missing; it names the classes"):
        open_folder_training(root, "train")


def test_shares_and_lists_of_names(tmp_path: Path) -> None:
    pairs = [(f"images/c/{number}.png", f"labels/c/{number}.png") for number in range(5)]
    root = write(tmp_path, *pairs)
    with pytest.raises(InputError, match=r"classes\.yaml: no frames are set apart for validation; .*every: 5"):
        open_folder_training(root, "train")
    assert len(open_folder(root)) == 5
    write(root, extra="split: {every: 3}\n")
    assert names(root, "val") == ["images/c/0.png", "images/c/3.png"]
    assert len(names(root, "train")) == 3
    write(root, extra="split: {val: held.txt}\n")
    (root / "held.txt").write_text("c/1\n4.png\n\n")
    assert names(root, "val") == ["images/c/1.png", "images/c/4.png"]
    assert len(names(root, "train")) == 3
    assert len(open_folder(root)) == 2
    (root / "held.txt").unlink()
    with pytest.raises(InputError, match=r"held\.txt: can't be read as a list of names"):
        open_folder_training(root, "val")


def test_patterns_pair_what_their_stars_stand_for(tmp_path: Path) -> None:
    extra = 'images: "cam/{split}/*/*_rgb.png"\nlabels: "gt/{split}/*/*_ids.png"\nsplit: {train: training, val: held}\n'
    root = write(
        tmp_path,
        ("cam/training/a/1_rgb.png", "gt/training/a/1_ids.png"),
        ("cam/training/b/1_rgb.png", "gt/training/b/1_ids.png"),
        ("cam/held/a/1_rgb.png", "gt/held/a/1_ids.png"),
        extra=extra,
    )
    assert names(root, "train") == ["cam/training/a/1_rgb.png", "cam/training/b/1_rgb.png"]
    assert names(root, "val") == ["cam/held/a/1_rgb.png"]
    (root / "gt/training/b/1_ids.png").unlink()
    with pytest.raises(InputError, match=r"b/1_rgb\.png: its label is missing"):
        open_folder_training(root, "train")


def test_values_become_train_ids_and_anomalies_and_classes_those_of_a_model(tmp_path: Path) -> None:
    root = write(tmp_path, ("image/a.png", "label/a.png"))
    frames = open_folder(root)
    assert [(item.name, item.drivable) for item in frames.classes] == [("track", True), ("car", False)]
    assert frames.classes[1].color == (1, 2, 3)
    frame = frames[0]
    assert frame.semantic.ravel()[:5].tolist() == [0, 1, 1, 255, 255]
    assert frame.anomaly.ravel()[:5].tolist() == [0, 0, 0, 1, 255]

    known = [item.name for item in CITYSCAPES_CLASSES]
    frames = open_folder(root).for_classes(known)
    car = known.index("car")
    assert frames[0].semantic.ravel()[:5].tolist() == [255, car, car, 255, 255]
    assert frames[0].anomaly.ravel()[:5].tolist() == [255, 0, 0, 1, 255]  # of "track" nobody can say
    assert [name for name in frames.class_names if name] == ["car"]
    with pytest.raises(InputError, match=r"classes\.yaml: the model knows none of its classes; it has water"):
        open_folder(root).for_classes(["water"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classes: [", "not valid YAML"),
        ("classes: {}", "needs a list of classes"),
        ("classes: []", "has 0 classes"),
        ("classes: [road]", r"classes\[0\]: needs a name of one line"),
        ("classes: [{name: a}]\nvoid: 3", "unknown key void; known: classes, ignore"),
        ("classes: [{name: a, colour: 3}]", r"classes\[0\]: unknown key colour"),
        ("classes: [{name: a, color: [1, 2]}]", r"classes\[0\]\.color: \[1, 2\] is no red"),
        ("classes: [{name: a, drivable: 1}]", r"classes\[0\]\.drivable: 1 is neither"),
        ("classes: [{name: a, id: 256}]", r"classes\[0\]\.id: 256 is no value"),
        ("classes: [{name: a, id: 1}, {name: b, id: 1}]", r"classes\[1\]\.id: the value 1 is there twice"),
        ("classes: [{name: a}, {name: a}]", r"classes\[1\]: 'a' is there twice"),
        ("classes: [{name: a}]\nunknown: [0]", "unknown: the value 0 is there twice"),
        ("classes: [{name: a}]\nimages: '*.png'", "labels: None; give images and labels"),
        ("classes: [{name: a}]\nsplit: half", "split: 'half'; write"),
        ("classes: [{name: a}]\nsplit: {every: 1}", r"split\.every: 1 is no whole number"),
    ],
)
def test_mistakes_in_the_class_file_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    root = write(tmp_path, ("image/a.png", "label/a.png"))
    (root / "classes.yaml").write_text(text)
    with pytest.raises(InputError, match=rf"classes\.yaml: .*{message}") as caught:
        open_folder(root)
    assert "\n" not in str(caught.value)
