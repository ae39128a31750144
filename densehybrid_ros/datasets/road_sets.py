# SPDX-License-Identifier: Apache-2.0
"""Road data sets with the classes of Cityscapes: itself, Mapillary Vistas, WildDash 2 and IDD-Lite.

Cityscapes (Cordts et al. 2016), also in a stretched 640x640 edition, Mapillary Vistas (Neuhold et al. 2017, versions
1.1, 1.2 and 2.0), WildDash 2 (Zendel et al. 2022), IDD-Lite (Varma et al. 2019). A class that has none of Cityscapes is
void. Each raises an InputError where a folder is missing, an image lacks its labels, or a configuration is wrong.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from densehybrid_ros.datasets.evaluation_set import (
    ANOMALY,
    IGNORE,
    INLIER,
    FrameFiles,
    check_sizes,
    index_pictures,
    pair_files,
    pair_folders,
    require_folder,
)
from densehybrid_ros.datasets.labelled_set import TRAIN_IDS, LabelledSet
from densehybrid_ros.datasets.pictures import read_labels
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, VOID
from densehybrid_ros.datasets.training_frames import KNOWN
from densehybrid_ros.errors import InputError

_TRAIN_IDS = {item.name: index for index, item in enumerate(CITYSCAPES_CLASSES)}
_EVALUATED = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10}
_EVALUATED |= {24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
_LICENSE_PLATE = 255  # label id -1, stored in 8 bits
_LABEL_IDS = range(34)
_LABEL_ID_TO_TRAIN_ID = {value: _EVALUATED.get(value, VOID) for value in (*_LABEL_IDS, _LICENSE_PLATE)}
"""Value in ``*_labelIds.png`` -> train id, 255 = void (cityscapesScripts, labels.py)."""
_NEVER_UNKNOWN = {0, 1, 2, 3, _LICENSE_PLATE}  # unlabeled, ego vehicle, rectification border, out of roi
_ANOMALY_OF_LABEL_ID = (
    dict.fromkeys(_LABEL_IDS, ANOMALY) | dict.fromkeys(_EVALUATED, INLIER) | dict.fromkeys(_NEVER_UNKNOWN, IGNORE)
)
_REAL_UNKNOWNS = {105: 5, 129: 29, 130: 30}
"""Value among train ids -> label id of things that are no class: dynamic, caravan, trailer."""
_OWN_CAR, _OWN_CAR_ID = 101, 1  # value among train ids; label id "ego vehicle"

_MAPILLARY_SPLITS = {"train": "training", "val": "validation"}
_MAPILLARY_VERSIONS = (("config_v1.2.json", "v1.2"), ("config_v2.0.json", "v2.0"), ("config.json", ""))
"""Configuration -> folder of the version within a split. A release may hold two; the authors trained on 1.2."""

MAPILLARY_VISTAS: dict[str, tuple[str, ...]] = {
    "": ("animal--", "construction--barrier--", "nature--mountain", "nature--water", "object--",
        "object--vehicle--caravan", "void--"),
    "sidewalk": ("construction--barrier--curb", "construction--flat--curb-cut",
        "construction--flat--pedestrian-area", "construction--flat--sidewalk",
        "construction--flat--traffic-island"),
    "fence": ("construction--barrier--fence", "construction--barrier--guard-rail"),
    "wall": ("construction--barrier--wall",),
    "road": ("construction--flat--bike-lane", "construction--flat--crosswalk-plain",
        "construction--flat--driveway", "construction--flat--parking", "construction--flat--rail-track",
        "construction--flat--road", "construction--flat--service-lane", "marking--", "marking-only--"),
    "building": ("construction--structure--",),
    "person": ("human--person",),
    "rider": ("human--rider--",),
    "terrain": ("nature--sand", "nature--snow", "nature--terrain"),
    "sky": ("nature--sky",),
    "vegetation": ("nature--vegetation",),
    "pole": ("object--support--pole", "object--support--utility-pole"),
    "traffic sign": ("object--support--traffic-sign-frame", "object--traffic-sign--direction-front",
        "object--traffic-sign--front", "object--traffic-sign--information-parking",
        "object--traffic-sign--temporary-front"),
    "traffic light": ("object--traffic-light",),
    "bicycle": ("object--vehicle--bicycle",),
    "bus": ("object--vehicle--bus",),
    "car": ("object--vehicle--car",),
    "motorcycle": ("object--vehicle--motorcycle",),
    "train": ("object--vehicle--on-rails",),
    "truck": ("object--vehicle--truck",),
}  # fmt: skip
"""Class of Cityscapes, empty for void -> beginnings of labels' names in ``config_v*.json``; the longest one counts.

Source: the classes of version 1.2 as the paper's authors map them in their later public code (bridges and tunnels are
buildings, backs of signs and other vehicles void); the finer ones of version 2.0 follow their parents in 1.2.
"""

WILDDASH: dict[str, str] = {
    "unlabeled": "", "egovehicle": "", "overlay": "", "outofroi": "", "static": "", "dynamic": "", "ground": "",
    "road": "road", "sidewalk": "sidewalk", "parking": "", "railtrack": "", "building": "building", "wall": "wall",
    "fence": "fence", "guardrail": "", "bridge": "", "tunnel": "", "pole": "pole", "polegroup": "",
    "trafficlight": "traffic light", "trafficsign": "traffic sign", "vegetation": "vegetation", "terrain": "terrain",
    "sky": "sky", "person": "person", "rider": "rider", "car": "car", "truck": "truck", "bus": "bus", "caravan": "",
    "trailer": "", "onrails": "train", "motorcycle": "motorcycle", "bicycle": "bicycle", "pickup": "truck",
    "van": "car", "billboard": "", "streetlight": "", "roadmarking": "road", "junctionbox": "", "mailbox": "",
    "manhole": "road", "phonebooth": "", "pothole": "road", "bikerack": "", "trafficsignframe": "pole",
    "utilitypole": "pole", "motorcyclist": "rider", "bicyclist": "rider", "otherrider": "rider", "bird": "",
    "groundanimal": "", "curb": "sidewalk", "trafficsignany": "", "trafficsignback": "", "trashcan": "",
    "otherbarrier": "wall", "othervehicle": "", "autorickshaw": "motorcycle", "bench": "", "mountain": "",
    "tramtrack": "road", "wheeledslow": "", "boat": "", "bikelane": "road", "bikelanesidewalk": "sidewalk",
    "banner": "", "dashcammount": "", "water": "", "sand": "", "pedestrianarea": "road", "firehydrant": "",
    "cctvcamera": "", "snow": "", "catchbasin": "road", "crosswalkplain": "road", "crosswalkzebra": "road",
    "manholesidewalk": "sidewalk", "curbterrain": "terrain", "servicelane": "road", "curbcut": "sidewalk",
}  # fmt: skip
"""Name of a category of WildDash 2 -> class of Cityscapes, empty for void, in the order of their ids, 0 to 80.

Source: the unified label policy of WildDash 2 (Zendel et al. 2022, table 1 of the supplement).
"""

_IDD_WIDTH = 640  # twice the stored one: no wider than they bear
_IDD_LITE = {**dict.fromkeys((*range(7), 255), VOID), 0: _TRAIN_IDS["road"], 6: _TRAIN_IDS["sky"]}
_IDD_NAMELESS = (1, 4, 5)  # not drivable, roadside objects, far objects
_VALIDATION_EVERY = 5  # of WildDash's frames


def open_cityscapes(root: Path, split: str = "val", void_is_unknown: bool = False) -> LabelledSet:
    """Opens ``leftImg8bit/SPLIT/CITY/*_leftImg8bit.png`` with ``gtFine/SPLIT/CITY/*_gtFine_labelIds.png``.

    ``void_is_unknown`` takes the void classes as anomalies, except unlabeled, ego vehicle, rectification border, out
    of roi and license plate, which are ignored (paper, table 3).
    """
    hint = "give the folder that holds leftImg8bit/ and gtFine/"
    endings = "_leftImg8bit", "_gtFine_labelIds"
    files = pair_folders(root / "leftImg8bit" / split, root / "gtFine" / split, hint, "*/*", endings)
    anomaly = _ANOMALY_OF_LABEL_ID if void_is_unknown else {}
    return LabelledSet("cityscapes", files, CITYSCAPES_CLASSES, _LABEL_ID_TO_TRAIN_ID, anomaly)


def open_cityscapes_640(root: Path, split: str = "val") -> LabelledSet:
    """Opens ``SPLIT/image/NAME.jpg`` with ``SPLIT/label/NAME.png``: squares that get their 2:1 geometry back.

    Where ``SPLIT/void/NAME.png`` give the original label ids of void pixels, dynamic things, caravans and trailers are
    anomalies and other void is ignored. The own car is ignored in ``val`` and a car in ``train``, so that a network
    learns to know it. For ``val``, ``root`` may also be the folder of the split itself.
    """
    folder = root if split == "val" and (root / "image").is_dir() else root / split
    hint = "give the folder that holds train/ and val/, each with image/ and label/"
    files = pair_folders(folder / "image", folder / "label", hint)
    if not (folder / "void").is_dir():
        return LabelledSet("cityscapes_640", files, CITYSCAPES_CLASSES, TRAIN_IDS, stretched=True)
    semantic = (
        TRAIN_IDS | dict.fromkeys(_REAL_UNKNOWNS, VOID) | {_OWN_CAR: _TRAIN_IDS["car"] if split == "train" else VOID}
    )
    anomaly = {value: INLIER if name != VOID else IGNORE for value, name in TRAIN_IDS.items()}
    anomaly |= dict.fromkeys(_REAL_UNKNOWNS, ANOMALY) | {_OWN_CAR: IGNORE}
    return LabelledSet("cityscapes_640", files, CITYSCAPES_CLASSES, semantic, anomaly, True, _labels_and_void)


def _labels_and_void(files: FrameFiles) -> np.ndarray:
    """Reads train ids, and the numbers of real unknowns and the own car where the picture of void pixels has them."""
    labels = read_labels(files.label)
    path = files.label.parents[1] / "void" / files.label.name
    if not path.is_file():
        return labels
    void = read_labels(path)
    check_sizes(labels, files.label, void, path)
    labels = labels.copy()
    for value, label_id in (*_REAL_UNKNOWNS.items(), (_OWN_CAR, _OWN_CAR_ID)):
        labels[(void == label_id) & (labels == VOID)] = value
    return labels


def open_mapillary_vistas(root: Path, split: str) -> LabelledSet:
    """Opens ``{training,validation}/images/KEY.jpg`` with ``{training,validation}/[VERSION/]labels/KEY.png``.

    Which value is which class stands in ``config_v1.2.json``, ``config_v2.0.json`` or ``config.json`` (1.1); the first
    of these whose labels are there is taken. Labels are PNGs with a palette; their values are its indices.
    """
    hint = "give the folder that holds training/, validation/ and config_v1.2.json, config_v2.0.json or config.json"
    folder = require_folder(root / _MAPILLARY_SPLITS[split], hint)
    found = [(root / config, folder / version / "labels") for config, version in _MAPILLARY_VERSIONS]
    found = [(config, labels) for config, labels in found if config.is_file()]
    if not found:
        raise InputError(f"{root}: has no config_v1.2.json, config_v2.0.json or config.json; {hint}")
    config, label_folder = next((item for item in found if item[1].is_dir()), found[0])
    files = pair_folders(folder / "images", label_folder, f"{config.name} is there; {hint}")
    return LabelledSet("mapillary_vistas", files, CITYSCAPES_CLASSES, _mapillary_train_ids(config))


def _mapillary_train_ids(config: Path) -> dict[int, int]:
    """Reads label value -> train id from a configuration: the value is the place in its list of labels."""
    try:
        names = [str(label["name"]) for label in json.loads(config.read_text(encoding="utf-8"))["labels"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{config}: no configuration of Mapillary Vistas ({error!r:.80})") from error
    table = {}
    for value, name in enumerate(names):
        found = {begin: kind for kind, begins in MAPILLARY_VISTAS.items() for begin in begins if name.startswith(begin)}
        if not found:
            raise InputError(
                f"{config}: label {value} is {name!r}, which is in no table; add it to {Path(__file__).name}"
            )
        table[value] = _TRAIN_IDS.get(found[max(found, key=len)], VOID)
    return table


def open_wilddash2(root: Path, split: str) -> LabelledSet:
    """Opens the public part of WildDash 2: ``images/NAME.jpg`` with category ids in ``labels/NAME[_labelIds].png``.

    There is no official split: every fifth frame by name is for validation.
    """
    hint = "give the folder that holds images/ and labels/"
    image_folder, label_folder = (require_folder(root / name, hint) for name in ("images", "labels"))
    images = sorted(index_pictures(image_folder, "*").items())
    chosen = dict(item for index, item in enumerate(images) if (index % _VALIDATION_EVERY == 0) == (split == "val"))
    labels = {name.removesuffix("_labelIds"): path for name, path in index_pictures(label_folder, "*").items()}
    files = pair_files(chosen, labels, image_folder, label_folder)
    train_ids = {value: _TRAIN_IDS.get(name, VOID) for value, name in enumerate(WILDDASH.values())}
    return LabelledSet("wilddash2", files, CITYSCAPES_CLASSES, train_ids)


def open_idd_lite(root: Path, split: str = "train") -> LabelledSet:
    """Opens ``SPLIT/image/NAME.*`` with ``SPLIT/label/NAME.png``: small pictures, enlarged to 640 columns.

    What is drivable is road, sky is sky. What else is known anywhere is ``KNOWN`` in ``train`` and void in ``val``.
    Living things and vehicles are void: animals and rickshaws, which Cityscapes has no class for, are among them.
    """
    hint = "give the folder that holds train/ and val/, each with image/ and label/"
    files = pair_folders(root / split / "image", root / split / "label", hint)
    semantic = _IDD_LITE | (dict.fromkeys(_IDD_NAMELESS, KNOWN) if split == "train" else {})
    return LabelledSet("idd_lite", files, CITYSCAPES_CLASSES, semantic, width=_IDD_WIDTH)
