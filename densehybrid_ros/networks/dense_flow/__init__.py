# SPDX-License-Identifier: Apache-2.0
"""DenseFlow: a normalising flow of images with an exact inverse, for synthetic negatives (paper, section 4.2)."""

from densehybrid_ros.networks.dense_flow.config import FLOWS, FlowConfig
from densehybrid_ros.networks.dense_flow.files import LoadedFlow, load_flow, save_flow
from densehybrid_ros.networks.dense_flow.flow import DenseFlow, Encoding, dequantize

__all__ = ["FLOWS", "DenseFlow", "Encoding", "FlowConfig", "LoadedFlow", "dequantize", "load_flow", "save_flow"]
