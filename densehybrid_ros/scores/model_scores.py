# SPDX-License-Identifier: Apache-2.0
"""Scores that need the model itself, by name; adding one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable

from densehybrid_ros.scores.flow_density import FlowDensity
from densehybrid_ros.scores.gaussians import GaussianDiscriminant, GaussianMixture
from densehybrid_ros.scores.mc_dropout import McDropout
from densehybrid_ros.scores.model_score import ModelScore
from densehybrid_ros.scores.odin import Odin
from densehybrid_ros.scores.openmax import OpenMax
from densehybrid_ros.scores.react import ReAct
from densehybrid_ros.scores.sml import StandardizedMaxLogit


def _flow_hybrid() -> FlowDensity:
    return FlowDensity(hybrid=True)


MODEL_SCORES: dict[str, Callable[[], ModelScore]] = {
    "sml": StandardizedMaxLogit,
    "odin": Odin,
    "mc_dropout": McDropout,
    "react": ReAct,
    "openmax": OpenMax,
    "gdm": GaussianDiscriminant,
    "gmm": GaussianMixture,
    "flow": FlowDensity,
    "flow_hybrid": _flow_hybrid,
}
"""Name -> constructor of a ``ModelScore`` with its published settings."""
