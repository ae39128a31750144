# SPDX-License-Identifier: Apache-2.0
"""Open-set perception for ROS 2 with the DenseHybrid anomaly detector (Grcić & Šegvić).

``load`` returns a segmenter for pictures, ``Perception`` adds hazards and the alert, ``train.run`` trains.
``DenseHybrid`` and ``register_network`` take networks of your own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from densehybrid_ros.datasets.camera import Camera
    from densehybrid_ros.inference import FrameResult, Segmenter, load
    from densehybrid_ros.networks import DenseHybrid, register_network
    from densehybrid_ros.perception.geometry import Disparity, Mount
    from densehybrid_ros.perception.perception import Frame, Perceived, Perception
    from densehybrid_ros.perception.settings import Settings
    from densehybrid_ros.resources import __version__ as __version__
    from densehybrid_ros.training import train

_HOMES = {
    "load": "inference",
    "Segmenter": "inference",
    "FrameResult": "inference",
    "DenseHybrid": "networks",
    "register_network": "networks",
    "Camera": "datasets.camera",
    "Disparity": "perception.geometry",
    "Mount": "perception.geometry",
    "Frame": "perception.perception",
    "Perceived": "perception.perception",
    "Perception": "perception.perception",
    "Settings": "perception.settings",
    "train": "training.train",
    "__version__": "resources",
}
"""Name -> the module that has it. PyTorch takes seconds to import, so a name is looked up when it is asked for."""

__all__ = ["Camera", "DenseHybrid", "Disparity", "Frame", "FrameResult", "Mount", "Perceived", "Perception"]
__all__ += ["Segmenter", "Settings", "load", "register_network", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOMES[name]}")
    value = module if name == "train" else getattr(module, name)
    globals()[name] = value
    return value
