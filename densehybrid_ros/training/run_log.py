# SPDX-License-Identifier: Apache-2.0
"""What a run leaves while it goes: losses as JSON lines, and pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.datasets.pictures import write_picture
from densehybrid_ros.files import make_folder, write_text_atomically, writing


class RunLog:
    """Writes into a run's folder; does nothing without one, as in all processes but the first."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def begin(self) -> None:
        """Removes the figures of an earlier run in the same folder."""
        if self.folder is not None:
            (self.folder / "log.jsonl").unlink(missing_ok=True)

    def resume(self, step: int) -> None:
        """Drops what a killed run has written after its checkpoint at ``step``."""
        path = self.folder / "log.jsonl" if self.folder else None
        if path is not None and path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            write_text_atomically(path, "".join(line for line in lines if _step(line) <= step))

    def figures(self, step: int, values: dict[str, float]) -> None:
        """Appends figures of a step."""
        if self.folder is not None:
            make_folder(self.folder)
            path = self.folder / "log.jsonl"
            with writing(path), path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")

    def picture(self, step: int, name: str, image: Tensor) -> None:
        """Writes a picture, float [3, H, W] in 0..1, as ``pictures/NAME_STEP.png``."""
        if self.folder is not None:
            pixels = (image.detach().float().clamp(0, 1) * 255).round().to("cpu", torch.uint8)
            write_picture(self.folder / "pictures" / f"{name}_{step:06d}.png", pixels.permute(1, 2, 0).numpy())


def sheet(images: Tensor, columns: int) -> Tensor:
    """Lays pictures, float [N, 3, h, w], side by side on one, [3, H, W], with two grey pixels between."""
    padded = torch.nn.functional.pad(images, (0, 2, 0, 2), value=0.5)
    rows = [torch.cat(list(part.unbind(0)), dim=2) for part in padded.split(columns)]
    width = max(row.shape[2] for row in rows)
    return torch.cat([torch.nn.functional.pad(row, (0, width - row.shape[2]), value=0.5) for row in rows], dim=1)


def colored(values: Tensor) -> Tensor:
    """Paints maps, float [N, h, w], from dark (lowest of each) to bright; returns float32 [N, 3, h, w] in 0..1."""
    low, high = values.amin((1, 2), keepdim=True), values.amax((1, 2), keepdim=True)
    levels = ((values - low) / (high - low).clamp(min=1e-6) * 255).to("cpu", torch.uint8).numpy()
    painted = [cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB) for level in levels]
    return torch.from_numpy(np.stack(painted)).permute(0, 3, 1, 2).float() / 255


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return sys.maxsize  # half a line, written as the run was killed
