# SPDX-License-Identifier: Apache-2.0
"""Segmentation networks, the hybrid head that attaches to any of them, and weights with their cards."""

from densehybrid_ros.networks.base import DenseHybrid, HybridOutput, upsample
from densehybrid_ros.networks.card import ModelCard, read_card, write_card
from densehybrid_ros.networks.registry import ARCHITECTURES, architecture_names, build_network, register_network
from densehybrid_ros.networks.segmentation_network import SegmentationNetwork
from densehybrid_ros.networks.weights import (
    LoadedModel,
    check_output,
    load_model,
    model_path,
    save_model,
    shipped_models,
)

__all__ = [
    "ARCHITECTURES",
    "DenseHybrid",
    "HybridOutput",
    "LoadedModel",
    "ModelCard",
    "SegmentationNetwork",
    "architecture_names",
    "build_network",
    "check_output",
    "load_model",
    "model_path",
    "read_card",
    "register_network",
    "save_model",
    "shipped_models",
    "upsample",
    "write_card",
]
