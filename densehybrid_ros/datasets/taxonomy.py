# SPDX-License-Identifier: Apache-2.0
"""Class tables: names, train ids and colours of Cityscapes and StreetHazards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

VOID = 255
"""Train id of pixels without a semantic label."""


@dataclass(frozen=True)
class SemanticClass:
    """One class: its name, its colour (red, green, blue; 0..255), and whether its surface is one to drive on."""

    name: str
    color: tuple[int, int, int]
    drivable: bool = False


CITYSCAPES_CLASSES: tuple[SemanticClass, ...] = (
    SemanticClass("road", (128, 64, 128), drivable=True),
    SemanticClass("sidewalk", (244, 35, 232)),
    SemanticClass("building", (70, 70, 70)),
    SemanticClass("wall", (102, 102, 156)),
    SemanticClass("fence", (190, 153, 153)),
    SemanticClass("pole", (153, 153, 153)),
    SemanticClass("traffic light", (250, 170, 30)),
    SemanticClass("traffic sign", (220, 220, 0)),
    SemanticClass("vegetation", (107, 142, 35)),
    SemanticClass("terrain", (152, 251, 152)),
    SemanticClass("sky", (70, 130, 180)),
    SemanticClass("person", (220, 20, 60)),
    SemanticClass("rider", (255, 0, 0)),
    SemanticClass("car", (0, 0, 142)),
    SemanticClass("truck", (0, 0, 70)),
    SemanticClass("bus", (0, 60, 100)),
    SemanticClass("train", (0, 80, 100)),
    SemanticClass("motorcycle", (0, 0, 230)),
    SemanticClass("bicycle", (119, 11, 32)),
)
"""The 19 evaluated classes of Cityscapes in the order of their train ids."""

STREET_HAZARDS: tuple[SemanticClass, ...] = (
    SemanticClass("unlabeled", (0, 0, 0)),
    SemanticClass("building", (70, 70, 70)),
    SemanticClass("fence", (190, 153, 153)),
    SemanticClass("pedestrian", (220, 20, 60)),
    SemanticClass("pole", (153, 153, 153)),
    SemanticClass("road line", (157, 234, 50), drivable=True),
    SemanticClass("road", (128, 64, 128), drivable=True),
    SemanticClass("sidewalk", (244, 35, 232)),
    SemanticClass("vegetation", (107, 142, 35)),
    SemanticClass("car", (0, 0, 142)),
    SemanticClass("wall", (102, 102, 156)),
    SemanticClass("traffic sign", (220, 220, 0)),
)
"""The 12 evaluated classes of StreetHazards with the colours of CARLA, the simulator that drew the frames.

Sky is among the unlabeled.
"""

CLASS_TABLES: dict[str, tuple[SemanticClass, ...]] = {
    "cityscapes": CITYSCAPES_CLASSES,
    "street_hazards": STREET_HAZARDS,
}
"""Name -> classes. Mapillary Vistas and WildDash 2 are mapped to those of Cityscapes."""

UNKNOWN_CLASS = SemanticClass("unknown", (0, 255, 255))
"""What the open-set mask calls a pixel whose anomaly score exceeds the threshold (id K)."""


def class_difference(found: Sequence[SemanticClass], wanted: Sequence[SemanticClass]) -> str:
    """Says how classes differ from those that are wanted, for a message; empty where names and order are the same."""
    if len(found) != len(wanted):
        return f"has {len(found)} classes, not {len(wanted)}"
    for index, (one, other) in enumerate(zip(found, wanted, strict=True)):
        if one.name != other.name:
            return f"calls class {index} {one.name!r}, not {other.name!r}"
    return ""


def color_table(classes: tuple[SemanticClass, ...]) -> np.ndarray:
    """Returns a uint8 [256, 3] RGB table: class ids, then unknown at id K, black elsewhere (void)."""
    table = np.zeros((256, 3), dtype=np.uint8)
    for index, semantic_class in enumerate((*classes, UNKNOWN_CLASS)):
        table[index] = semantic_class.color
    return table
