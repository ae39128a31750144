# SPDX-License-Identifier: Apache-2.0
"""From a frame, and what is known with it, to masks, hazards and the alert: what node, replay and demo run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.taxonomy import SemanticClass
from densehybrid_ros.errors import shown
from densehybrid_ros.hazards.chain import HazardChain
from densehybrid_ros.hazards.hazard import HazardFrame
from densehybrid_ros.perception.alert import Alert, hazard_alert, stale_frame_alert
from densehybrid_ros.perception.geometry import Disparity, Mount, Transform
from densehybrid_ros.perception.images import rgb_from_message
from densehybrid_ros.perception.settings import Settings

if TYPE_CHECKING:
    # PyTorch takes seconds to import, and a node is in the graph before.
    from densehybrid_ros.inference import FrameResult, Segmenter
    from densehybrid_ros.networks import ModelCard

_LARGEST = 4  # times the pixels of the card's size: the default of max_image_pixels


@dataclass(frozen=True)
class Frame:
    """A picture and what is known with it.

    Attributes:
        image: uint8 RGB [H, W, 3], any strides.
        stamp: Time of capture in seconds.
        frame_id: Name of the camera's optical frame.
        camera: The camera of this image, rectified; None: unknown.
        mount: How it is mounted; None: as ``camera`` says.
        disparity: Of this image; None: none, or as far as ``camera`` has a baseline of its own.
        ego_speed: Metres a second, forwards; None: unknown.
        problems: What was wrong with an input, "NAME: what" each; the input is then left out.
    """

    image: np.ndarray
    stamp: float = 0.0
    frame_id: str = ""
    camera: Camera | None = None
    mount: Mount | None = None
    disparity: Disparity | None = None
    ego_speed: float | None = None
    problems: tuple[str, ...] = ()

    @cached_property
    def placed_camera(self) -> Camera | None:
        """The camera with its mount and the baseline of the disparities; None where no distance follows from it."""
        camera = self.camera
        if camera is None:
            return None
        if self.mount is not None:
            camera = replace(camera, pitch=self.mount.to_base.pitch, mount_height=self.mount.to_base.height)
        if self.disparity is not None:
            # So that fx * baseline is that of the disparities, even if they were made with another focal length.
            camera = replace(camera, baseline=self.disparity.baseline * self.disparity.focal / camera.fx)
        return camera if camera.mount_height > 0 or self.disparity is not None else None


@dataclass(frozen=True)
class Perceived:
    """What is made of a frame.

    Attributes:
        frame: The frame.
        masks: Masks and score.
        classes: Class table of the model; behind the last one comes "unknown".
        threshold: Anomaly threshold in nats that was used.
        hazards: What the hazard stage says; None where it was not asked, or failed.
        problems: What was wrong with the inputs or the hazard stage, "NAME: what" each.
        inference_seconds: Time that the calling thread was busy with the model, or waited for it.
        hazard_seconds: Time in the hazard stage.
    """

    frame: Frame
    masks: FrameResult
    classes: tuple[SemanticClass, ...]
    threshold: float
    hazards: HazardFrame | None
    problems: tuple[str, ...]
    inference_seconds: float
    hazard_seconds: float

    @cached_property
    def alert(self) -> Alert:
        """The alert; STALE where the hazards are not known."""
        if self.hazards is None:
            return stale_frame_alert(f"hazards are unknown: {'; '.join(self.problems) or 'the hazard stage is off'}")
        return frame_alert(self.frame, self.hazards, self.problems, self.threshold)


def frame_alert(frame: Frame, hazards: HazardFrame, problems: tuple[str, ...], threshold: float) -> Alert:
    """Makes the alert of a frame, of which the hazard stage says ``hazards``; the threshold is in nats."""
    camera, mount = frame.placed_camera, frame.mount
    if mount is None and camera is not None and camera.mount_height > 0:
        mount = Mount(Transform.of_mount(camera.mount_height, camera.pitch), "")
    size = (frame.image.shape[0], frame.image.shape[1])
    return hazard_alert(hazards, problems, shown(frame.frame_id), mount, frame.ego_speed, threshold, size)


class Perception:
    """Perceives frame after frame of one camera. One thread calls it, and all that share the segmenter.

    Attributes:
        segmenter: The model.
        settings: The parameters; a change counts from the next frame on.
    """

    def __init__(self, segmenter: Segmenter, settings: Settings | None = None, camera: int = 0) -> None:
        """Begins without a track.

        Args:
            segmenter: The model, as ``densehybrid_ros.load`` or ``open_segmenter`` returns it.
            settings: The parameters of the node; None: their defaults. Those of the model (backend, input_policy ...)
                are the segmenter's affair.
            camera: Number of the camera, of several that share the segmenter.
        """
        self.segmenter, self.settings, self._camera = segmenter, settings or Settings(), camera
        self._chain = HazardChain(segmenter.card.classes, segmenter.card.confidence, segmenter.card.region_classifier)
        self._reset = threading.Event()

    def reset(self) -> None:
        """Makes all tracks start over at the next frame; any thread may call it."""
        self._reset.set()

    def __call__(self, frame: Frame, judge: bool = True) -> Perceived:
        """Perceives a frame.

        Args:
            frame: The frame.
            judge: Whether hazards are looked for; where not, their tracks start over, since a gap would mislead.

        Raises:
            InputError: The image can't be segmented, or no threshold is known.
            ComputationError: The score is not finite.
        """
        return self.submit(frame, judge)()

    def submit(self, frame: Frame, judge: bool = True) -> Callable[[], Perceived]:
        """Begins with a frame, see ``Segmenter.submit``; returns what waits for the masks and judges them."""
        threshold, began = self._threshold(), time.monotonic()
        wait = self.segmenter.submit(frame.image, threshold, self._camera)
        return partial(self._finish, frame, judge, threshold, wait, time.monotonic() - began)

    def _finish(
        self, frame: Frame, judge: bool, threshold: float, wait: Callable[[], FrameResult], spent: float
    ) -> Perceived:
        settings, began = self.settings, time.monotonic() - spent
        masks = wait()
        segmented = time.monotonic()
        hazards, problems = None, frame.problems
        if not judge:
            self.reset()
        else:
            try:
                hazards = self._judge(frame, masks, threshold, settings)
                problems = (*problems, *hazards.problems)
            except Exception as error:  # the masks are still worth having, and the alert says what happened
                self.reset()
                problems = (*problems, f"hazards: {type(error).__name__}: {error}")
        done = time.monotonic()
        classes = self.segmenter.card.classes
        return Perceived(frame, masks, classes, threshold, hazards, problems, segmented - began, done - segmented)

    def _threshold(self) -> float:
        """Returns the parameter's, else that of its name in the card, else the segmenter's own, else the card's."""
        settings, own = self.settings, self.segmenter.threshold
        if settings.anomaly_threshold is not None:
            return settings.anomaly_threshold
        if own is not None and not settings.threshold_name:
            return own
        return self.segmenter.card.threshold(settings.threshold_name or None)

    def _judge(self, frame: Frame, masks: FrameResult, threshold: float, settings: Settings) -> HazardFrame:
        if self._reset.is_set():
            self._reset.clear()
            self._chain.reset()
        camera = frame.placed_camera
        return self._chain.update(
            frame.stamp,
            masks.semantic,
            masks.anomaly_score,
            masks.open_set == self.segmenter.card.num_classes,
            threshold,
            settings.hazards,
            camera,
            frame.disparity.pixels if frame.disparity is not None and camera is not None else None,
            frame.ego_speed,
        )


def picture_reader(settings: Settings, card: ModelCard) -> Callable[[Any], np.ndarray]:
    """Returns what reads camera messages as the parameters say, see ``rgb_from_message``."""
    height, width = card.input_size
    most_pixels = settings.max_image_pixels or _LARGEST * height * width
    return partial(rgb_from_message, most_pixels=most_pixels, bits=settings.input_bits)


def open_segmenter(settings: Settings, warn: Callable[[str], None]) -> Segmenter:
    """Loads the model as the parameters say.

    ``warn`` gets each thing once that a user should know.

    Raises:
        InputError: The model can't be read, or the backend, device or precision is not to be had here.
    """
    from densehybrid_ros.inference import Segmenter
    from densehybrid_ros.networks import load_model

    width, height = settings.input_size
    return Segmenter(
        load_model(settings.model),
        settings.backend,
        settings.device,
        size=(height, width) if width and height else None,
        input_policy=settings.input_policy,
        precision=None if settings.precision == "auto" else settings.precision,
        cache=Path(settings.engine_cache).expanduser() if settings.engine_cache else None,
        # Who compiles before the first frame looks dead; it is done only where that was asked for.
        at_once=settings.build_engine or settings.backend == "auto",
        warn=warn,
    )
