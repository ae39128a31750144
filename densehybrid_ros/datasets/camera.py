# SPDX-License-Identifier: Apache-2.0
"""The pinhole camera of a road vehicle and its JSON file in the layout of Cityscapes and Lost and Found."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from densehybrid_ros.errors import InputError
from densehybrid_ros.files import write_text_atomically


@dataclass(frozen=True)
class Camera:
    """A rectified stereo camera looking along the road, without roll.

    Pixel centres lie at whole coordinates, the first at (0, 0).
    """

    width: int  # Image width in pixels
    height: int  # Image height in pixels
    fx: float  # Horizontal focal length in pixels
    fy: float  # Vertical focal length in pixels
    cx: float  # Column of the principal point in pixels
    cy: float  # Row of the principal point in pixels
    baseline: float  # Distance between the two cameras in metres
    pitch: float  # Rotation of the optical axis below the horizon in radians (down positive)
    mount_height: float  # Height of the camera above the road in metres

    @classmethod
    def from_cityscapes_json(cls, path: str | Path, width: int = 2048, height: int = 1024) -> Camera:
        """Reads a ``*_camera.json`` file of Cityscapes or Lost and Found.

        It does not say itself that it belongs to images of ``width`` x ``height`` pixels.

        Raises:
            InputError: The file cannot be read, is not JSON, or a key is missing or has no usable value.
        """
        path = Path(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); give a camera JSON file") from error
        except ValueError as error:
            raise InputError(f"{path}: not valid JSON ({error}); give a camera JSON file of Cityscapes") from error
        fields = {
            name: _number(path, content, section, key, positive) for name, section, key, positive in _CITYSCAPES_KEYS
        }
        return cls(width=width, height=height, **fields)

    def to_cityscapes_json(self, path: str | Path) -> None:
        """Writes the camera as ``*_camera.json`` in the layout of Cityscapes and Lost and Found."""
        content: dict[str, dict[str, float]] = {
            "extrinsic": {"roll": 0.0, "yaw": 0.0, "x": 0.0, "y": 0.0},
            "intrinsic": {},
        }
        for name, section, key, _ in _CITYSCAPES_KEYS:
            content[section][key] = float(getattr(self, name))
        write_text_atomically(Path(path), json.dumps(content, indent=4, sort_keys=True) + "\n")

    def scaled(self, width: int, height: int) -> Camera:
        """Returns the camera of the same view resized to ``width`` x ``height`` pixels."""
        scale_x = width / self.width
        scale_y = height / self.height
        focal = {"fx": self.fx * scale_x, "fy": self.fy * scale_y}
        center = {"cx": (self.cx + 0.5) * scale_x - 0.5, "cy": (self.cy + 0.5) * scale_y - 0.5}
        return replace(self, width=width, height=height, **focal, **center)

    def ground_depth(self, row: float) -> float:
        """Returns the depth in metres along the optical axis at which ``row`` meets the road plane (inf above it)."""
        descent = (row - self.cy) / self.fy * math.cos(self.pitch) + math.sin(self.pitch)
        return self.mount_height / descent if descent > 0 else math.inf


_CITYSCAPES_KEYS: tuple[tuple[str, str, str, bool], ...] = (
    ("fx", "intrinsic", "fx", True),
    ("fy", "intrinsic", "fy", True),
    ("cx", "intrinsic", "u0", False),
    ("cy", "intrinsic", "v0", False),
    ("baseline", "extrinsic", "baseline", True),
    ("pitch", "extrinsic", "pitch", False),
    ("mount_height", "extrinsic", "z", True),
)
"""Field of Camera, section and key of the JSON file, and whether the value must be above zero."""


def _number(path: Path, content: Any, section: str, key: str, positive: bool) -> float:
    """Returns one figure of the file or raises an InputError that names its key."""
    values = content.get(section) if isinstance(content, dict) else None
    if not isinstance(values, dict) or key not in values:
        raise InputError(f"{path}: key {section}.{key} is missing; add it as Cityscapes' camera files have it")
    value = values[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{path}: key {section}.{key} is {value!r}; it must be a finite number")
    if positive and value <= 0:
        raise InputError(f"{path}: key {section}.{key} is {value}; it must be above zero")
    return float(value)
