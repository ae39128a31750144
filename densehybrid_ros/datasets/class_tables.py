"""Class tables by name, each in the order of its train ids."""

from __future__ import annotations

from densehybrid_ros.datasets.anomaly_sets import STREET_HAZARDS_CLASSES
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, SemanticClass

_STREET_HAZARDS_COLORS = (
    (0, 0, 0), (70, 70, 70), (190, 153, 153), (220, 20, 60), (153, 153, 153), (157, 234, 50), (128, 64, 128),
    (244, 35, 232), (107, 142, 35), (0, 0, 142), (102, 102, 156), (220, 220, 0),
)  # fmt: skip

STREET_HAZARDS: tuple[SemanticClass, ...] = tuple(
    SemanticClass(name, color) for name, color in zip(STREET_HAZARDS_CLASSES, _STREET_HAZARDS_COLORS, strict=True)
)
"""The 12 evaluated classes of StreetHazards with the colours of CARLA, the simulator that drew the frames."""

CLASS_TABLES: dict[str, tuple[SemanticClass, ...]] = {
    "cityscapes": CITYSCAPES_CLASSES,
    "street_hazards": STREET_HAZARDS,
}
"""Name -> classes. Mapillary Vistas and WildDash 2 are mapped to those of Cityscapes."""
