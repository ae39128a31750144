# SPDX-License-Identifier: Apache-2.0
"""Networks of other libraries by name: timm's encoders, torchvision's and segmentation_models_pytorch's networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from densehybrid_ros.errors import InputError
from densehybrid_ros.networks.adapter import AdaptedNetwork
from densehybrid_ros.networks.blocks import IMAGENET_MEAN, IMAGENET_STD
from densehybrid_ros.networks.foreign import first_line, library
from densehybrid_ros.networks.ladder_timm import TimmLadder
from densehybrid_ros.networks.segmentation_network import SegmentationNetwork


def _torchvision(name: str, num_classes: int) -> SegmentationNetwork:
    models = library("torchvision.models")
    known = models.list_models(models.segmentation)
    if name not in known:
        raise InputError(f"architecture torchvision:{name}: unknown; choose one of {', '.join(known)}")
    module = models.get_model(name, weights=None, weights_backbone=None, num_classes=num_classes)
    return _on_imagenet(module, "classifier.4", "backbone")


def _smp(name: str, num_classes: int) -> SegmentationNetwork:
    decoder, _, encoder = name.partition(":")
    smp = library("segmentation_models_pytorch")
    try:
        module = smp.create_model(decoder, encoder, encoder_weights=None, classes=num_classes)
    except Exception as error:
        raise InputError(f"architecture smp:{name}: write smp:DECODER:ENCODER ({first_line(error)})") from error
    return _on_imagenet(module, "segmentation_head.0", "encoder")


LIBRARIES: dict[str, Callable[[str, int], SegmentationNetwork]] = {
    "timm": TimmLadder,
    "torchvision": _torchvision,
    "smp": _smp,
}
"""What stands before the first colon of an architecture -> what builds it from the rest and the number of classes."""


def _on_imagenet(module: Any, classifier: str, encoder: str) -> SegmentationNetwork:
    return AdaptedNetwork(module, classifier, mean=IMAGENET_MEAN, std=IMAGENET_STD, encoder=encoder)
