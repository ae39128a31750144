"""Architectures by name; adding one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable

from densehybrid_ros.errors import InputError
from densehybrid_ros.networks.base import SegmentationNetwork
from densehybrid_ros.networks.deeplab_v3_plus import DeepLabV3Plus
from densehybrid_ros.networks.ladder_densenet import LadderDenseNet121
from densehybrid_ros.networks.light import LightNetwork

ARCHITECTURES: dict[str, Callable[[int], SegmentationNetwork]] = {
    "ldn121": LadderDenseNet121,
    "light": LightNetwork,
    "deeplab_wrn38": DeepLabV3Plus,
}
"""Architecture name -> constructor that takes the number of classes."""


def build_network(architecture: str, num_classes: int) -> SegmentationNetwork:
    """Builds a closed-set network with random weights.

    Raises:
        InputError: There is no such architecture.
    """
    if architecture not in ARCHITECTURES:
        raise InputError(f"architecture {architecture!r}: unknown; choose one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[architecture](num_classes)
