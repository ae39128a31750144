"""From a uint8 frame to masks: backends, the post-network pass, and the pipeline around them."""

from densehybrid_ros.inference.backends import BACKENDS
from densehybrid_ros.inference.dense_output import DenseOutput, dense_output
from densehybrid_ros.inference.pipeline import FrameResult, Pipeline

__all__ = ["BACKENDS", "DenseOutput", "FrameResult", "Pipeline", "dense_output"]
