# SPDX-License-Identifier: Apache-2.0
"""Where the frames of a bag come from: a folder of pictures, a video, the rendered road."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from densehybrid_ros.bags.folder import natural_key
from densehybrid_ros.bags.frames import BagFrame, check_size, resize_frame
from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.datasets.evaluation_set import IGNORE
from densehybrid_ros.datasets.labelled_set import (
    ANOMALY_MEND,
    ANOMALY_VALUES,
    TRAIN_IDS,
    anomaly_values,
    translate_labels,
    what_is_lacking,
)
from densehybrid_ros.datasets.pictures import PICTURE_SUFFIXES, list_pictures, read_color, read_disparity, read_labels
from densehybrid_ros.datasets.rendered_road import render_drive
from densehybrid_ros.datasets.taxonomy import VOID
from densehybrid_ros.errors import InputError

FIRST_STAMP = 1_000_000_000
"""Stamp of the first frame in nanoseconds. Not 0, which ROS takes for "no stamp"."""

DEFAULT_FPS = 10.0

_MAX_OFF_CENTER = 0.25  # of the picture's side; real cameras stay below 0.1, a file for twice the size reaches 0.5

_ROLE_SUFFIX = re.compile(
    r"_(leftImg8bit|disparity|camera|(gtCoarse|gtFine)_(labelIds|labelTrainIds|instanceIds|color))$"
)


@dataclass(frozen=True)
class FrameSource:
    """Frames in order of time, which may be gone through several times."""

    frames: Callable[[], Iterator[BagFrame]]  # Reads them one by one
    count: int  # How many they are, of a video as its header promises
    period: int = 0  # Nanoseconds from one to the next; 0: unknown
    size: tuple[int, int] | None = None  # (width, height) to which they are brought; None: theirs
    name: str = ""  # Of a data set's sequence

    def __len__(self) -> int:
        """Number of frames."""
        return self.count

    def __iter__(self) -> Iterator[BagFrame]:
        """Reads the frames one by one; an InputError where one can't be read."""
        for frame in self.frames():
            yield resize_frame(frame, *self.size) if self.size else frame


class FolderFrames(FrameSource):
    """Frames from a folder of pictures, in natural order of their names.

    What belongs to a frame has its name in another folder; Cityscapes' endings (``_leftImg8bit``,
    ``_disparity``, ``_gtCoarse_labelTrainIds``, ...) are left out of the comparison.
    """

    def __init__(
        self,
        folder: Path,
        fps: float = DEFAULT_FPS,
        camera: Path | None = None,
        camera_size: tuple[int, int] | None = None,
        disparity: Path | None = None,
        labels: Path | None = None,
        semantic: Path | None = None,
        limit: int | None = None,
        size: tuple[int, int] | None = None,
        leave_out: Callable[[str, int], None] | None = None,
    ) -> None:
        """Finds the files of every frame.

        Args:
            folder: Folder of pictures (jpg, png, webp, ...), or one picture.
            fps: Frames a second.
            camera: A camera JSON in Cityscapes' layout for all frames, or a folder with one a frame.
            camera_size: (width, height) that the camera JSON is for; by default that of the frames.
            disparity: Folder of 16-bit disparity pictures, d = (p - 1) / 256.
            labels: Folder of anomaly labels (0 inlier, 1 anomaly, 255 ignore).
            semantic: Folder of semantic labels (train ids, 255 = none).
            limit: Take at most this many frames.
            size: (width, height) to which the frames are brought; theirs where it is not given.
            leave_out: Gets one line about frames that can't be read, and how many they are; None raises an
                InputError at the first.

        Raises:
            InputError: A folder is missing or empty, or a frame lacks its file in one of them. While reading: a file
                is unreadable, sizes disagree, or a label is out of range, unless such frames are to be left out; or
                no frame has a labelled pixel. That no pixel is an anomaly is told on stderr.
        """
        pictures = ordered_pictures(folder)[:limit]
        is_one = camera is not None and not camera.is_dir()
        cameras = [camera] * len(pictures) if is_one else _companions(pictures, camera, (".json",), "camera")
        planes = (
            _companions(pictures, found, PICTURE_SUFFIXES, role)
            for found, role in ((disparity, "disparity"), (labels, "label"), (semantic, "semantic label"))
        )
        period, files = period_ns(fps), list(zip(pictures, cameras, *planes, strict=True))

        def frames() -> Iterator[BagFrame]:
            """Reads the frames one by one, and looks at the end what the labels of all hold."""
            first: tuple[str, tuple[int, ...]] | None = None
            anomaly: set[int] = set()
            classified = False
            for index, (path, *known) in enumerate(files):
                try:
                    frame = _read_frame(FIRST_STAMP + index * period, camera_size, path, *known)
                    first = first or (path.name, frame.image.shape)
                    check_size(str(path), frame.image.shape, *first)
                except InputError as error:
                    if leave_out is None:
                        raise
                    leave_out(str(error), 1)
                    continue
                anomaly |= anomaly_values(frame.labels) if frame.labels is not None else set()
                classified |= frame.semantic is not None and bool(np.any(frame.semantic != VOID))
                yield frame
            if first and labels and (lacking := what_is_lacking(anomaly)):
                if anomaly == {IGNORE}:
                    raise InputError(f"{labels}: {lacking}")
                print(f"{labels}: {lacking}", file=sys.stderr)
            if first and semantic and not classified:
                raise InputError(f"{semantic}: no pixel has a class: all labels are 255; save train ids")

        super().__init__(frames, len(pictures), period, size)


def _companions(
    pictures: Sequence[Path], folder: Path | None, suffixes: tuple[str, ...], role: str
) -> Sequence[Path | None]:
    """Finds every picture's file in another folder."""
    if folder is None:
        return [None] * len(pictures)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    by_name = {frame_name(path): path for path in folder.iterdir() if path.suffix.lower() in suffixes}
    for picture in pictures:
        if frame_name(picture) not in by_name:
            raise InputError(f"{folder}: no {role} file for the frame {picture.name}")
    return [by_name[frame_name(picture)] for picture in pictures]


def _read_frame(
    stamp: int,
    camera_size: tuple[int, int] | None,
    path: Path,
    camera: Path | None,
    disparity: Path | None,
    labels: Path | None,
    semantic: Path | None,
) -> BagFrame:
    image = read_color(path)

    def plane(file: Path | None, table: Mapping[int, int] | None = None, mend: str = "") -> np.ndarray | None:
        if file is None:
            return None
        values = translate_labels(read_labels(file), table, file, mend) if table else read_disparity(file)
        check_size(str(file), values.shape, path.name, image.shape)
        return values

    return BagFrame(
        stamp=stamp,
        image=image,
        name=path.stem,
        camera=read_camera(camera, image.shape, camera_size) if camera else None,
        disparity=plane(disparity),
        labels=plane(labels, ANOMALY_VALUES, f"{ANOMALY_MEND}; train ids belong to --semantic"),
        semantic=plane(semantic, TRAIN_IDS),
    )


class VideoFrames(FrameSource):
    """Frames from a video file that OpenCV can decode."""

    def __init__(
        self,
        path: Path,
        fps: float | None = None,
        camera: Path | None = None,
        camera_size: tuple[int, int] | None = None,
        limit: int | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        """Opens the video to see what it holds; arguments as of ``FolderFrames``, but one camera and its own fps.

        Raises:
            InputError: The file is missing, no video, or does not tell its rate. While reading: no frame can be
                decoded, or the camera file is unreadable.
        """
        capture = _open_video(path)
        rate = fps or capture.get(cv2.CAP_PROP_FPS)
        if not rate or not np.isfinite(rate) or rate <= 0:
            raise InputError(f"{path}: the video does not tell its frame rate; give --fps")
        period, promised = period_ns(rate), max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        capture.release()

        def frames() -> Iterator[BagFrame]:
            capture, index = _open_video(path), 0
            try:
                while limit is None or index < limit:
                    ok, picture = capture.read()
                    if not ok:
                        break
                    image = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
                    known = read_camera(camera, image.shape, camera_size) if camera else None
                    yield BagFrame(FIRST_STAMP + index * period, image, known)
                    index += 1
            finally:
                capture.release()
            if index == 0:
                raise InputError(f"{path}: no frame of this video can be decoded")

        super().__init__(frames, promised if limit is None else min(promised, limit), period, size)


class RenderedFrames(FrameSource):
    """A drive on the rendered road: exact labels, disparity and camera."""

    def __init__(self, seed: int, count: int, size: tuple[int, int] = (1024, 512), fps: float = DEFAULT_FPS) -> None:
        """Notes what to render: ``count`` frames of ``size`` (width, height) pixels; same seed, same drive."""
        period = period_ns(fps)

        def frames() -> Iterator[BagFrame]:
            for index, frame in enumerate(render_drive(seed, count, *size, fps)):
                planes = frame.disparity, frame.anomaly, frame.semantic, frame.instances
                yield BagFrame(FIRST_STAMP + index * period, frame.image, frame.camera, *planes, frame.speed)

        super().__init__(frames, count, period)


def period_ns(fps: float) -> int:
    """Returns the time between two frames in nanoseconds; an InputError if the rate is not within 0.001..1e6."""
    if not 1e-3 <= fps <= 1e6:
        raise InputError(f"--fps {fps:g}: must be within 0.001..1e6")
    return round(1e9 / fps)


def read_camera(path: Path, image_shape: tuple[int, ...], file_size: tuple[int, int] | None = None) -> Camera:
    """Reads a camera JSON in Cityscapes' layout, which does not say for how large a picture it is.

    Args:
        path: The file.
        image_shape: Shape of the picture, [H, W, ...], in whose pixels the camera is returned.
        file_size: (width, height) that the file is for; that of the picture where it is not given.

    Raises:
        InputError: The file is unreadable, or is evidently for pictures of another size.
    """
    height, width = image_shape[:2]
    camera = Camera.from_cityscapes_json(path, *(file_size or (width, height)))
    check_principal_point(camera, path, "say with --camera-size for which size the file is")
    return camera.scaled(width, height)


def check_principal_point(camera: Camera, path: Path | None, mend: str) -> None:
    """Checks that a camera looks through about the middle of its picture; ``mend`` ends the message.

    Raises:
        InputError: It does not: the file is for pictures of another size.
    """
    if max(abs(camera.cx / camera.width - 0.5), abs(camera.cy / camera.height - 0.5)) > _MAX_OFF_CENTER:
        point = f"principal point ({camera.cx:.0f}, {camera.cy:.0f})"
        raise InputError(f"{path}: {point} is far from the middle of {camera.width}x{camera.height} pixels; {mend}")


def _open_video(path: Path) -> cv2.VideoCapture:
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise InputError(f"{path}: not a video that OpenCV can decode")
    return capture


def ordered_pictures(folder: Path) -> list[Path]:
    """Returns the picture files of a folder in natural order, or the one picture that ``folder`` is."""
    return [folder] if folder.is_file() else sorted(list_pictures(folder), key=natural_key)


def frame_name(path: Path) -> str:
    """Returns what the files of one frame have in common: the stem without Cityscapes' name of the role."""
    return _ROLE_SUFFIX.sub("", path.stem)
