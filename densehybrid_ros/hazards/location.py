# SPDX-License-Identifier: Apache-2.0
"""Where a region stands: by disparity, else on the ground plane, else nowhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.hazards.hazard import NOWHERE, Location, Source
from densehybrid_ros.hazards.region_points import RegionPoints, flat_regions, medians
from densehybrid_ros.hazards.regions import MaskedRegion
from densehybrid_ros.hazards.settings import HazardSettings

_SAMPLES = 196  # pixels of a region's box that its median disparity is taken from, about
_VALID_SHARE = 0.1  # of a region's pixels that must have a disparity
_FEWEST_VALID = 5
_NORMAL_MAD = 1.4826  # standard deviation of a normal distribution over its median absolute deviation
LARGEST_TILT = 0.5
"""Radians of pitch and roll; a camera that is tilted by more does not look along a road."""
HEIGHTS = (0.2, 10.0)
"""Metres above the road at which vehicles carry cameras."""
_VIEWS = (5.0, 170.0)  # degrees across
_STRETCH = 2.5  # of one focal length over the other; frames that were stretched to a square have 2
_SIDE_MARGIN, _UPPER_MARGIN = 0.25, 0.1  # of the image, outside of which no principal point lies; crops take off rows
_WORST_SHARE = 0.5  # standard deviation over distance beyond which a ground-plane distance says nothing


def horizon_row(camera: Camera) -> float:
    """Returns the row at which the road plane vanishes, maybe outside the picture."""
    return camera.cy - camera.fy * math.tan(camera.pitch)


def camera_problem(camera: Camera, shape: tuple[int, ...]) -> str | None:
    """Says in one line why a camera can't be used for an image of (height, width); None if it can.

    What no camera of a road vehicle has counts as unknown: a wrong distance is worse than none. That may hit a narrow
    region of interest far from the middle of its sensor.
    """
    height, width = shape[:2]
    fx, fy = camera.fx, camera.fy
    if (camera.height, camera.width) != (height, width):
        return f"camera_info is for {camera.width}x{camera.height}, the image is {width}x{height}: distances unknown"
    for name, value in (("fx", fx), ("fy", fy)):
        if not 0 < value < math.inf:
            return f"camera_info has the focal length {name} = {value}: distances unknown"
    view = 2 * math.degrees(math.atan(width / (2 * fx)))
    if not _VIEWS[0] <= view <= _VIEWS[1]:
        return f"camera_info has fx = {fx:g}, a view of {view:.3g} degrees: distances unknown"
    if max(fx, fy) > _STRETCH * min(fx, fy):
        return f"camera_info has fx = {fx:g}, but fy = {fy:g}: distances unknown"
    for name, value, length, margin in (
        ("cx", camera.cx, width, _SIDE_MARGIN),
        ("cy", camera.cy, height, _UPPER_MARGIN),
    ):
        if not margin * length <= value + 0.5 <= (1 - margin) * length:  # nor NaN
            what = f"the principal point {name} = {value:g}, far from the middle of {length} pixels"
            return f"camera_info has {what}: distances unknown"
    return None


def ground_problem(camera: Camera) -> str | None:
    """Says in one line why the ground plane of a usable camera gives no distances; None if it does."""
    if not HEIGHTS[0] <= camera.mount_height <= HEIGHTS[1]:
        return f"the camera's mounting height is {camera.mount_height}: no ground plane"
    if not abs(camera.pitch) <= LARGEST_TILT:
        return f"the camera's pitch is {camera.pitch}: no ground plane"
    horizon = horizon_row(camera)
    if -camera.height <= horizon < camera.height - 1:
        return None
    where = "below" if horizon > 0 else "far above"
    return f"the camera's pitch of {camera.pitch:.3f} rad puts the horizon {where} the image: no ground plane"


def ground_reach(camera: Camera, settings: HazardSettings) -> float:
    """Returns the depth in metres beyond which the ground plane tells no distance: its deviation exceeds half of it."""
    angle = math.hypot(settings.foot_row_noise / camera.fy, settings.pitch_noise)
    return _WORST_SHARE * camera.mount_height / angle if angle > 0 else math.inf


def disparity_problem(disparity: np.ndarray, camera: Camera, shape: tuple[int, ...]) -> str | None:
    """Says in one line why a disparity image can't be used; None if it can."""
    if disparity.shape != tuple(shape):
        size = "x".join(str(length) for length in disparity.shape[::-1])
        return f"the disparity is {size}, the image {shape[1]}x{shape[0]}: disparity not used"
    if not 0 < camera.baseline < math.inf:
        return f"the stereo baseline is {camera.baseline}: disparity not used"
    return None


class Locator:
    """Locates the regions of one frame.

    Args:
        shape: (height, width) of the image.
        settings: Noise of the measurements.
        camera: Camera of the image, rectified; a baseline or mounting height of zero or NaN says it is not known.
        disparity: float32 [H, W] in pixels, NaN or not above zero where invalid.

    Attributes:
        problems: What could not be used, and why; grows while regions are located.
        camera: The camera, level and of no height where its mount can't be used; None: unknown.
        horizon: Row at which the road vanishes; None: unknown.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        settings: HazardSettings,
        camera: Camera | None = None,
        disparity: np.ndarray | None = None,
    ) -> None:
        self.problems: list[str] = []
        self.camera: Camera | None = None
        self.horizon: float | None = None
        self._settings = settings
        self._disparity: np.ndarray | None = None
        if camera is None or self._note(camera_problem(camera, shape)):
            return
        if disparity is not None and not self._note(disparity_problem(disparity, camera, shape)):
            self._disparity = disparity
        problem = ground_problem(camera)
        if problem is None:
            self.camera, self.horizon = camera, horizon_row(camera)
            if self.horizon < 0:
                pitch = f"the camera's pitch of {camera.pitch:.3f} rad"
                self._note(f"{pitch} puts the horizon above the image: all of it is taken for ground")
        else:
            self.camera = replace(camera, pitch=0.0, mount_height=0.0)
            if self._disparity is None or camera.mount_height > 0:
                self._note(problem)

    def _note(self, problem: str | None) -> bool:
        if problem and problem not in self.problems:
            self.problems.append(problem)
        return problem is not None

    @property
    def tells_heights(self) -> bool:
        """Whether disparity and the camera's mount tell how high regions are, and it is asked for."""
        return self._disparity is not None and self.horizon is not None and self._settings.flat_height > 0

    def flat(self, points: RegionPoints, ground: np.ndarray) -> np.ndarray:
        """Returns which regions lie flat in the road, see ``flat_regions``; only where ``tells_heights``."""
        assert self._disparity is not None
        assert self.camera is not None
        noise, height = self._settings.disparity_noise, self._settings.flat_height
        return flat_regions(points, self._disparity, ground, self.camera, noise, height)

    def locate(self, regions: Sequence[MaskedRegion]) -> list[Location]:
        """Locates regions: by disparity, else on the ground plane, else nowhere."""
        if self.camera is None:
            return [NOWHERE] * len(regions)
        places = []
        for region, measured in zip(regions, self._by_disparity(self.camera, regions), strict=True):
            depth, source = measured, Source.DISPARITY
            if depth is None and self.horizon is not None:
                depth, source = self._by_ground(self.camera, region), Source.GROUND_PLANE
            places.append(NOWHERE if depth is None else _location(self.camera, region, *depth, source))
        return places

    def _by_disparity(self, camera: Camera, regions: Sequence[MaskedRegion]) -> list[tuple[float, float] | None]:
        """Depths and their standard deviations: median disparity; its noise, and the spread over the region."""
        depths: list[tuple[float, float] | None] = [None] * len(regions)
        if self._disparity is None or not regions:
            return depths
        samples = [_samples(self._disparity, region) for region in regions]
        lengths = np.array([len(values) for values in samples])
        table = np.full((len(regions), lengths.max()), np.inf, np.float32)
        table[np.arange(table.shape[1]) < lengths[:, None]] = np.concatenate(samples)
        table[~(table > 0)] = np.inf  # NaN too
        valid = np.count_nonzero(table < np.inf, axis=1)
        enough = np.flatnonzero(valid >= np.maximum(_FEWEST_VALID, _VALID_SHARE * lengths))
        middles = medians(table[enough])
        spreads = _NORMAL_MAD * medians(np.abs(table[enough] - middles[:, None])).astype(np.float64)
        for index, median, spread in zip(enough.tolist(), middles.tolist(), spreads.tolist(), strict=True):
            depth = camera.fx * camera.baseline / median
            depths[index] = depth, depth * math.hypot(self._settings.disparity_noise, spread) / median
        return depths

    def _by_ground(self, camera: Camera, region: MaskedRegion) -> tuple[float, float] | None:
        """Depth and its standard deviation where the region's foot meets the road plane."""
        depth = camera.ground_depth(_foot_row(region))
        if not math.isfinite(depth):
            self._note("a region's foot lies above the horizon: its distance is unknown")
            return None
        reach = ground_reach(camera, self._settings)
        return None if depth > reach else (depth, _WORST_SHARE * depth**2 / reach)


def _location(camera: Camera, region: MaskedRegion, depth: float, deviation: float, source: Source) -> Location:
    x = (region.left + 0.5 * (region.width - 1) - camera.cx) * depth / camera.fx
    y = (_foot_row(region) - camera.cy) * depth / camera.fy
    return Location((x, y, depth), depth, x, region.width * depth / camera.fx, deviation, source)


def _foot_row(region: MaskedRegion) -> float:
    """The row of a region's lower edge: half a pixel below the centres of its lowest ones."""
    return region.top + region.height - 0.5


def _samples(image: np.ndarray, region: MaskedRegion) -> np.ndarray:
    """Takes some of a region's pixels out of an image [H, W]."""
    step = math.isqrt(region.mask.size // _SAMPLES) | 1  # odd, so that every second row may lack disparity
    return region.crop(image)[::step, ::step][region.mask[::step, ::step].view(bool)]
