"""From a uint8 frame to masks: backends and compiled engines, the passes around the network, and the pipeline."""

from densehybrid_ros.inference.backends import BACKENDS
from densehybrid_ros.inference.dense_output import DenseOutput, dense_output
from densehybrid_ros.inference.input_policy import INPUT_POLICIES
from densehybrid_ros.inference.pipeline import Pipeline
from densehybrid_ros.inference.results import FrameResult

__all__ = ["BACKENDS", "INPUT_POLICIES", "DenseOutput", "FrameResult", "Pipeline", "dense_output"]
