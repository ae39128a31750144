# SPDX-License-Identifier: Apache-2.0
"""What a run leaves while it goes: losses as JSON lines and TensorBoard scalars, pictures as PNG and in TensorBoard."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

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
        self._purge: int | None = None

    def begin(self) -> None:
        """Removes the figures of an earlier run in the same folder."""
        for path in self.folder.glob("events.out.tfevents.*") if self.folder else ():
            path.unlink()
        if self.folder is not None:
            (self.folder / "log.jsonl").unlink(missing_ok=True)

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
        make_folder(self.folder)
        path = self.folder / "log.jsonl"
        with writing(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            self._summarise(step, "scalar", f"{group}/{name}", value)

    def picture(self, step: int, name: str, image: Tensor) -> None:
        """Writes a picture, float [3, H, W] in 0..1, as ``pictures/NAME_STEP.png``."""
        if self.folder is None:
            return
        pixels = (image.detach().float().clamp(0, 1) * 255).round().to("cpu", torch.uint8)
        write_picture(self.folder / "pictures" / f"{name}_{step:06d}.png", pixels.permute(1, 2, 0).numpy())
        self._summarise(step, "image", name, pixels, dataformats="CHW")

    def _summarise(self, step: int, kind: str, *content: Any, **options: Any) -> None:
        """Appends a summary of TensorBoard's, where that is installed."""
        if self._append is not None:
            from torch.utils.tensorboard import summary  # takes a second to import

            self._append(step=step, summary=getattr(summary, kind)(*content, **options))

    @cached_property
    def _append(self) -> Callable[..., None] | None:
        """What appends to TensorBoard's file. Its own writer does so in a thread, where a full disk is a traceback."""
        try:
            from tensorboard.compat.proto.event_pb2 import Event
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError:
            print("TensorBoard is not installed: losses go to log.jsonl alone", file=sys.stderr)
            return None
        assert self.folder is not None
        path = self.folder / f"events.out.tfevents.{int(time.time())}.{platform.node()}.{os.getpid()}"

        def append(**content: Any) -> None:
            with writing(path), path.open("ab") as file:
                RecordWriter(file).write(Event(wall_time=time.time(), **content).SerializeToString())

        append(file_version="brain.Event:2")
        if self._purge is not None:
            append(step=self._purge, session_log={"status": "START"})
        return append


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
