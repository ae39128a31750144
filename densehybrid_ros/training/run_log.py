"""What a run leaves while it goes: losses as JSON lines and TensorBoard scalars, pictures as PNG and in TensorBoard."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from densehybrid_ros.files import atomic_path, write_text_atomically


class RunLog:
    """Writes into a run's folder; does nothing without one, as in all processes but the first."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._board: Any = None
        self._tried = False
        self._purge: int | None = None

    def begin(self) -> None:
        """Removes the figures of an earlier run in the same folder."""
        if self.folder is not None:
            (self.folder / "log.jsonl").unlink(missing_ok=True)
            for path in self.folder.glob("events.out.tfevents.*"):
                path.unlink()

    def resume(self, step: int) -> None:
        """Drops what a killed run has written after its checkpoint at ``step``."""
        self._purge = step + 1
        path = self.folder / "log.jsonl" if self.folder else None
        if path is not None and path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            write_text_atomically(path, "".join(line for line in lines if _step(line) <= step))

    def scalars(self, step: int, values: dict[str, float], group: str = "train") -> None:
        """Appends figures of a step."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        board = self._tensorboard()
        if board is not None:
            for name, value in values.items():
                board.add_scalar(f"{group}/{name}", value, step)

    def picture(self, step: int, name: str, image: Tensor) -> None:
        """Writes a picture, float [3, H, W] in 0..1, as ``pictures/NAME_STEP.png``."""
        if self.folder is None:
            return
        pixels = (image.detach().float().clamp(0, 1) * 255).round().to("cpu", torch.uint8)
        path = self.folder / "pictures" / f"{name}_{step:06d}.png"
        with atomic_path(path) as temporary:
            cv2.imwrite(str(temporary), cv2.cvtColor(pixels.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2BGR))
        board = self._tensorboard()
        if board is not None:
            board.add_image(name, pixels, step)

    def close(self) -> None:
        """Writes out what is still held."""
        if self._board is not None:
            self._board.close()

    def _tensorboard(self) -> Any:
        if not self._tried:
            self._tried = True
            try:
                from torch.utils.tensorboard import SummaryWriter  # takes a second to import

                self._board = SummaryWriter(str(self.folder), purge_step=self._purge)
            except ImportError:
                print("TensorBoard is not installed: losses go to log.jsonl alone", file=sys.stderr)
        return self._board


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
