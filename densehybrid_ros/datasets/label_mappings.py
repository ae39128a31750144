# SPDX-License-Identifier: Apache-2.0
"""Which classes of other road data sets are which of Cityscapes. A class that has none here is void."""

from __future__ import annotations

from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, VOID

_VOID = ""

MAPILLARY_VISTAS: dict[str, str] = {
    "animal--": _VOID,
    "construction--barrier--": _VOID,
    "construction--barrier--curb": "sidewalk",
    "construction--barrier--fence": "fence",
    "construction--barrier--guard-rail": "fence",
    "construction--barrier--wall": "wall",
    "construction--flat--bike-lane": "road",
    "construction--flat--crosswalk-plain": "road",
    "construction--flat--curb-cut": "sidewalk",
    "construction--flat--driveway": "road",
    "construction--flat--parking": "road",
    "construction--flat--pedestrian-area": "sidewalk",
    "construction--flat--rail-track": "road",
    "construction--flat--road": "road",
    "construction--flat--service-lane": "road",
    "construction--flat--sidewalk": "sidewalk",
    "construction--flat--traffic-island": "sidewalk",
    "construction--structure--": "building",
    "human--person": "person",
    "human--rider--": "rider",
    "marking--": "road",
    "marking-only--": "road",
    "nature--mountain": _VOID,
    "nature--sand": "terrain",
    "nature--sky": "sky",
    "nature--snow": "terrain",
    "nature--terrain": "terrain",
    "nature--vegetation": "vegetation",
    "nature--water": _VOID,
    "object--": _VOID,
    "object--support--pole": "pole",
    "object--support--traffic-sign-frame": "traffic sign",
    "object--support--utility-pole": "pole",
    "object--traffic-light": "traffic light",
    "object--traffic-sign--direction-front": "traffic sign",
    "object--traffic-sign--front": "traffic sign",
    "object--traffic-sign--information-parking": "traffic sign",
    "object--traffic-sign--temporary-front": "traffic sign",
    "object--vehicle--bicycle": "bicycle",
    "object--vehicle--bus": "bus",
    "object--vehicle--car": "car",
    "object--vehicle--caravan": _VOID,
    "object--vehicle--motorcycle": "motorcycle",
    "object--vehicle--on-rails": "train",
    "object--vehicle--truck": "truck",
    "void--": _VOID,
}
"""Beginning of a label's name in ``config_v*.json`` -> class of Cityscapes; the longest beginning counts.

Source: the classes of version 1.2 as the paper's authors map them in their later public code (bridges and tunnels are
buildings, backs of signs and other vehicles void); the finer ones of version 2.0 follow their parents in 1.2.
"""

WILDDASH_NAMES: tuple[str, ...] = (
    "unlabeled", "egovehicle", "overlay", "outofroi", "static", "dynamic", "ground", "road", "sidewalk", "parking",
    "railtrack", "building", "wall", "fence", "guardrail", "bridge", "tunnel", "pole", "polegroup", "trafficlight",
    "trafficsign", "vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "caravan",
    "trailer", "onrails", "motorcycle", "bicycle", "pickup", "van", "billboard", "streetlight", "roadmarking",
    "junctionbox", "mailbox", "manhole", "phonebooth", "pothole", "bikerack", "trafficsignframe", "utilitypole",
    "motorcyclist", "bicyclist", "otherrider", "bird", "groundanimal", "curb", "trafficsignany", "trafficsignback",
    "trashcan", "otherbarrier", "othervehicle", "autorickshaw", "bench", "mountain", "tramtrack", "wheeledslow",
    "boat", "bikelane", "bikelanesidewalk", "banner", "dashcammount", "water", "sand", "pedestrianarea",
    "firehydrant", "cctvcamera", "snow", "catchbasin", "crosswalkplain", "crosswalkzebra", "manholesidewalk",
    "curbterrain", "servicelane", "curbcut",
)  # fmt: skip
"""Names of WildDash 2's categories in the order of their ids, 0 to 80.

Source: the unified label policy of WildDash 2 (Zendel et al. 2022, table 1 of the supplement), as is the next table.
"""

WILDDASH: dict[str, str] = {
    "road": "road", "roadmarking": "road", "manhole": "road", "pothole": "road", "tramtrack": "road",
    "bikelane": "road", "pedestrianarea": "road", "catchbasin": "road", "crosswalkplain": "road",
    "crosswalkzebra": "road", "servicelane": "road",
    "sidewalk": "sidewalk", "curb": "sidewalk", "bikelanesidewalk": "sidewalk", "manholesidewalk": "sidewalk",
    "curbcut": "sidewalk",
    "building": "building", "wall": "wall", "otherbarrier": "wall", "fence": "fence",
    "pole": "pole", "trafficsignframe": "pole", "utilitypole": "pole",
    "trafficlight": "traffic light", "trafficsign": "traffic sign", "vegetation": "vegetation",
    "terrain": "terrain", "curbterrain": "terrain", "sky": "sky", "person": "person",
    "rider": "rider", "motorcyclist": "rider", "bicyclist": "rider", "otherrider": "rider",
    "car": "car", "van": "car", "truck": "truck", "pickup": "truck", "bus": "bus", "onrails": "train",
    "motorcycle": "motorcycle", "autorickshaw": "motorcycle", "bicycle": "bicycle",
}  # fmt: skip
"""Name of a category -> class of Cityscapes."""

_WILDDASH_OLD_NAMES = {"rectificationborder": "overlay", "train": "onrails", "pickuptruck": "pickup"}
_TRAIN_IDS = {item.name: index for index, item in enumerate(CITYSCAPES_CLASSES)}


def mapillary_train_id(name: str) -> int | None:
    """Returns the train id of a label of Mapillary Vistas, 255 for void; None where the name is unknown."""
    beginnings = [beginning for beginning in MAPILLARY_VISTAS if name.startswith(beginning)]
    return _TRAIN_IDS.get(MAPILLARY_VISTAS[max(beginnings, key=len)], VOID) if beginnings else None


def wilddash_train_id(name: str) -> int | None:
    """Returns the train id of a category of WildDash 2, 255 for void; None where the name is unknown.

    Blanks, hyphens and capitals do not count: earlier releases wrote "ego vehicle" and "street-light".
    """
    plain = "".join(character for character in name.lower() if character.isalnum())
    plain = _WILDDASH_OLD_NAMES.get(plain, plain)
    return _TRAIN_IDS.get(WILDDASH.get(plain, _VOID), VOID) if plain in WILDDASH_NAMES else None
