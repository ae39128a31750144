# SPDX-License-Identifier: Apache-2.0
"""From a uint8 frame to masks: backends and compiled engines, the passes around the network, and the segmenter."""

from densehybrid_ros.inference.backends import BACKENDS
from densehybrid_ros.inference.dense_output import DenseOutput, dense_output
from densehybrid_ros.inference.input_policy import INPUT_POLICIES
from densehybrid_ros.inference.results import FrameResult
from densehybrid_ros.inference.segmenter import Segmenter, load

__all__ = ["BACKENDS", "INPUT_POLICIES", "DenseOutput", "FrameResult", "Segmenter", "dense_output", "load"]
