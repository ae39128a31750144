# SPDX-License-Identifier: Apache-2.0
"""Other road data sets with the classes of Cityscapes: Mapillary Vistas, WildDash 2 and IDD-Lite.

Mapillary Vistas (Neuhold et al. 2017, versions 1.1, 1.2 and 2.0), WildDash 2 (Zendel et al. 2022), IDD-Lite (Varma et
al. 2019). A class that has none of Cityscapes is void. Each raises an InputError where a folder is missing, an image
lacks its labels, or a configuration is wrong.
"""

from __future__ import annotations

import json
from pathlib import Path

from densehybrid_ros.datasets.evaluation_set import index_pictures, pair_files, pair_folders, require_folder
from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, VOID
from densehybrid_ros.datasets.training_frames import KNOWN
from densehybrid_ros.errors import InputError

_TRAIN_IDS = {item.name: index for index, item in enumerate(CITYSCAPES_CLASSES)}
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
_IDD_NAMED = {0: "road", 6: "sky"}
_IDD_NAMELESS = (1, 4, 5)  # not drivable, roadside objects, far objects
_IDD_VALUES = (*range(7), 255)
_VALIDATION_EVERY = 5  # of WildDash's frames


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
    semantic = dict.fromkeys(_IDD_VALUES, VOID) | {value: _TRAIN_IDS[name] for value, name in _IDD_NAMED.items()}
    if split == "train":
        semantic |= dict.fromkeys(_IDD_NAMELESS, KNOWN)
    return LabelledSet("idd_lite", files, CITYSCAPES_CLASSES, semantic, width=_IDD_WIDTH)
