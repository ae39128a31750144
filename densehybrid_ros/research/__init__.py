# SPDX-License-Identifier: Apache-2.0
"""What the paper compares itself with and no shipped model needs; nothing but the command line imports it."""

from densehybrid_ros.networks import register_network
from densehybrid_ros.research.baselines import BASELINE_LOSSES, BASELINE_SCORES
from densehybrid_ros.research.deeplab_wrn38 import DeepLabV3Plus
from densehybrid_ros.scores import SCORES
from densehybrid_ros.training import losses


def register() -> None:
    """Adds the baselines' scores and losses, and the paper's DeepLabV3+, to what this process knows by name."""
    SCORES.update(BASELINE_SCORES)
    losses.BASELINE_LOSSES.update(BASELINE_LOSSES)
    register_network("deeplab_wrn38", DeepLabV3Plus)
