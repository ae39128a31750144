# SPDX-License-Identifier: Apache-2.0
"""Labelled frames with cut-outs standing on the ground, written as a ``folder`` data set: a set to develop on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
import yaml
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from densehybrid_ros.datasets.folder import CLASS_FILE
from densehybrid_ros.datasets.labelled_set import LabelledSet
from densehybrid_ros.datasets.pictures import write_picture
from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.datasets.training_frames import UNKNOWN, overview_of
from densehybrid_ros.errors import InputError
from densehybrid_ros.files import atomic_directory, write_text_atomically
from densehybrid_ros.progress import progress
from densehybrid_ros.training.crops import Crop, CropContext, Photometry
from densehybrid_ros.training.losses import OUTLIER
from densehybrid_ros.training.mixed_content import lay_over
from densehybrid_ros.training.pasting import Canvas, PasteConfig, Place, ground_ids

_MOST_OBJECTS = 3  # in a frame
_SIZES = (0.25, 1.2)  # metres of an object's longest side
_FEWEST_PIXELS = 20.0  # a metre; farther off, a small object is a dot
_PLACES_TRIED = 200
_BLURS = (0.0, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0)  # pixels
_NOISE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)  # what of a picture is noise (Immerkaer 1996)
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


class PastedSet(NamedTuple):
    """What was written: frames with an object, objects in them, frames without a place for one."""

    frames: int
    objects: int
    left_out: int


def write_pasted_set(
    frames: LabelledSet, cutouts: Sequence[Tensor], output: Path, seed: int, shadows: float
) -> PastedSet:
    """Writes ``image/``, ``label/`` and ``classes.yaml``; objects and their mixed borders are no pixels of a class.

    Objects are as likely at every scale of the distance, and each has the sharpness and the noise of its frame.

    Args:
        frames: Frames with classes; their own unknown things are ignored.
        cutouts: uint8 [4, h, w], RGB and alpha; none is taken twice before all were.
        output: Folder to make.
        seed: The same seed writes the same set.
        shadows: Share of the objects with a soft shadow.

    Raises:
        InputError: A frame can't be read, or no frame has a place for an object.
        OutputError: A file can't be written.
    """
    config = PasteConfig(blur_probability=0.0, ground_size=_SIZES)
    rng = np.random.default_rng(seed)
    waiting: list[int] = []
    written = objects = 0
    with atomic_directory(output) as folder:
        for index in progress(range(len(frames)), "paste"):
            frame = frames[index]
            assert frame.semantic is not None
            size = height, width = frame.semantic.shape
            whole = Crop(slice(0, height), slice(0, width), size, (0, 0), False, Photometry())
            canvas = Canvas(CropContext(size, whole, overview_of(frame.image, frame.semantic)), config, rng)
            places = _places(canvas, ground_ids(frames.classes), rng)
            if not places:
                continue
            look = _Look.of(frame.image, rng)
            for place in places:
                waiting = waiting or rng.permutation(len(cutouts)).tolist()
                canvas.put_negative(cutouts[waiting.pop()], place, shadows, look.given_to)
            image = torch.from_numpy(frame.image.transpose(2, 0, 1).copy())[None].float() / 255
            mixed = lay_over(image, torch.from_numpy(frame.semantic)[None], [canvas.overlay()])
            labels = torch.where(mixed.origin == OUTLIER, UNKNOWN, mixed.labels)[0].to(torch.uint8).numpy()
            pixels = (mixed.images[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
            name = f"{index:04d}_{frames.files[index].image.stem}"
            write_picture(folder / "image" / f"{name}.jpg", np.ascontiguousarray(pixels))
            write_picture(folder / "label" / f"{name}.png", labels)
            written, objects = written + 1, objects + len(places)
        if not written:
            raise InputError(f"{frames.name}: no frame has a free place on a road or sidewalk; take others")
        classes = [
            {"id": number, "name": item.name, "color": list(item.color), "drivable": item.drivable}
            for number, item in enumerate(frames.classes)
        ]
        content = {"classes": classes, "ignore": [VOID], "unknown": [UNKNOWN]}
        text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=110)
        write_text_atomically(folder / CLASS_FILE, text)
    return PastedSet(written, objects, len(frames) - written)


def _places(canvas: Canvas, ground: Sequence[int], rng: np.random.Generator) -> list[Place]:
    """Draws places, the farthest first. Near ground fills most pixels of a picture, so it is taken less often."""
    wanted, found = int(rng.integers(1, _MOST_OBJECTS + 1)), list[Place]()
    for _ in range(_PLACES_TRIED):
        place = canvas.find_place(ground)
        if place is None:
            break
        if place.pixels_per_metre >= _FEWEST_PIXELS > rng.random() * place.pixels_per_metre:
            found.append(place)
            if len(found) == wanted:
                break
    return sorted(found)


class _Look(NamedTuple):
    """How sharp a frame is, down and across, and its noise in 0..1."""

    sharpness: tuple[float, float]
    noise: float
    rng: np.random.Generator

    @classmethod
    def of(cls, image: np.ndarray, rng: np.random.Generator) -> _Look:
        """Measures uint8 [H, W, 3]."""
        grey = image.astype(np.float32) @ _GREY / 255
        everywhere = np.ones(grey.shape, bool)
        return cls((_sharpness(grey, everywhere, 0), _sharpness(grey, everywhere, 1)), _noise(grey, everywhere), rng)

    def given_to(self, pixels: np.ndarray) -> np.ndarray:
        """Blurs and grains an object, float32 [h, w, 4], as the frame is; what is as blurred already stays."""
        solid = pixels[..., 3] > 0.5
        premultiplied = pixels.copy()
        premultiplied[..., :3] *= pixels[..., 3:]
        for axis, wanted in enumerate(self.sharpness):
            for sigma in _BLURS:
                blurred = gaussian_filter1d(premultiplied, sigma, axis, mode="nearest") if sigma else premultiplied
                if _sharpness(blurred[..., :3] @ _GREY, solid, axis) <= wanted:
                    break
            premultiplied = blurred
        colors = premultiplied[..., :3] / np.maximum(premultiplied[..., 3:], 1e-3)
        own = _noise(colors @ _GREY, solid)
        grain = self.rng.normal(0.0, max(0.0, self.noise**2 - own**2) ** 0.5, (*solid.shape, 1))
        return np.dstack([np.clip(colors + grain, 0, 1), premultiplied[..., 3]]).astype(np.float32)


def _sharpness(grey: np.ndarray, mask: np.ndarray, axis: int) -> float:
    """Differences of neighbours against those of pixels two apart: 0.5 where smooth, more where sharp."""
    grey, mask = (np.moveaxis(item, axis, 0) for item in (grey, mask))
    inside = mask[2:] & mask[1:-1] & mask[:-2]
    near, far = np.abs(grey[1:-1] - grey[:-2])[inside].sum(), np.abs(grey[2:] - grey[:-2])[inside].sum()
    return float(near / far) if far > 0 else 0.0


def _noise(grey: np.ndarray, mask: np.ndarray) -> float:
    """The deviation of the noise, from the median of what no even surface has."""
    inside = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    found = np.abs(cv2.filter2D(np.ascontiguousarray(grey, np.float32), -1, _NOISE))[inside]
    return float(np.median(found)) / (6 * 0.6745) if found.size else 0.0
