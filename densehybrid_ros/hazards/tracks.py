# SPDX-License-Identifier: Apache-2.0
"""Tracks of hazards over the frames: prediction, matching, ids, and the hysteresis that raises and clears them."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy.optimize import linear_sum_assignment

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.hazards.hazard import Location, Region, State
from densehybrid_ros.hazards.location import horizon_row
from densehybrid_ros.hazards.settings import HazardSettings

_RATE_GAIN = 0.5  # weight of the newest change in the rates of a box
_FASTEST_GROWTH = 3.0  # e-foldings of size a second
_NEAREST = 0.25  # share of the distance that is left, below which a picture's expansion is not to be foretold
_MISSING_GROWTH = 0.2  # of the way an unseen hazard is taken to have come nearer, added to its standard deviation
_PADDING, _PADDING_SHARE = 0.004, 0.25  # boxes are padded by this share of the image's width, and of their own size
_SMALLEST_OVERLAP = 0.1
_GATE, _WIDEST_GATE, _SIDE_GATE = 2.0, 4.0, 1.5  # metres: of distance at least and at most, and sideways
_CONTRADICTED = 0.5  # cost of a match in the image that the ground contradicts
_FORBIDDEN = 1e6

Box: TypeAlias = tuple[float, float, float, float]
"""Column and row of a bounding box's centre, and the logarithms of its width and height, in pixels."""


class Sight(NamedTuple):
    """A box in the image and where it stands."""

    box: Box
    location: Location


@dataclass(slots=True)
class Detection:
    """A region of one frame, described and located, and its box."""

    region: Region
    location: Location
    probability: float
    box: Box = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        region = self.region
        column, row = region.left + 0.5 * (region.width - 1), region.top + 0.5 * (region.height - 1)
        self.box = (column, row, math.log(region.width), math.log(region.height))


@dataclass(slots=True)
class Track:
    """A hazard over the frames."""

    id: int  # its number, from 1
    detection: Detection  # what was seen last; moved to where it is expected while missed is above zero
    first_stamp: float  # seconds; stamp of the first sighting
    history: deque[bool]  # whether it was seen, frame by frame, as far back as the trigger looks
    expected: Location  # where it is expected to be in this frame
    box: Box  # its box as expected in this frame
    seen: Box  # its box when it was seen last
    state: State = State.CANDIDATE  # candidate, active or lost
    age: int = 1  # frames since the first sighting, that one included
    missed: int = 0  # frames in a row without a sighting, up to the latest
    rate: Box | None = None  # change of the box a second; None until it was seen twice
    unseen: float = 0.0  # seconds since it was seen last


class Tracker:
    """Follows hazards from frame to frame; a hazard keeps its id through gaps of a few frames.

    Attributes:
        tracks: What it follows.
        frames: Frames taken in since it began, or began again.
    """

    def __init__(self) -> None:
        self._next = 1
        self.reset()

    def reset(self) -> None:
        """Forgets all tracks; ids go on counting, so that no old one comes back."""
        self.tracks: list[Track] = []
        self.frames = 0
        self._stamp: float | None = None
        self._shape: tuple[int, int] | None = None

    def update(
        self,
        stamp: float,
        detections: Sequence[Detection],
        settings: HazardSettings,
        shape: tuple[int, int],
        camera: Camera | None = None,
        ego_speed: float | None = None,
    ) -> str | None:
        """Takes in a frame.

        Args:
            stamp: Seconds.
            detections: What was found in it.
            settings: Hysteresis and gaps.
            shape: (height, width) of the image.
            camera: A usable camera of the image, for the expansion of what comes nearer; None: unknown.
            ego_speed: Metres a second; None: unknown.

        Returns:
            Why the tracks started over, in one line; None if they did not.
        """
        problem = self._problem(stamp, shape, settings)
        if problem:
            self.reset()
        elapsed = 0.0 if self._stamp is None else stamp - self._stamp
        self._stamp, self._shape = stamp if math.isfinite(stamp) else None, shape
        self.frames += 1
        vanishing = None if camera is None else (camera.cx, horizon_row(camera))
        for track in self.tracks:
            _predict(track, elapsed, vanishing, ego_speed)
        expected = [Sight(track.box, track.expected) for track in self.tracks]
        matches = associate(expected, [Sight(item.box, item.location) for item in detections], shape[1])
        for index, track in enumerate(self.tracks):
            found = matches.get(index)
            _advance(track, None if found is None else detections[found], settings, shape)
        for index in sorted(set(range(len(detections))) - set(matches.values())):
            new = detections[index]
            history = deque([True], maxlen=settings.trigger_window)
            track = Track(self._next, new, stamp, history, new.location, new.box, new.box)
            track.state = _next_state(track, settings)
            self.tracks.append(track)
            self._next += 1
        self._forget(settings)
        return problem

    def _problem(self, stamp: float, shape: tuple[int, int], settings: HazardSettings) -> str | None:
        """Why the tracks start over at a frame."""
        if not math.isfinite(stamp):
            return f"the stamp is {stamp}: tracks start over"
        elapsed = 0.0 if self._stamp is None else stamp - self._stamp
        if elapsed < 0:
            return f"the stamp jumps back by {-elapsed:.3f} s: tracks start over"
        if elapsed > settings.max_pause:
            return f"no frame for {elapsed:.1f} s: tracks start over"
        if self._shape not in (None, shape):
            return f"the image is {shape[1]}x{shape[0]} now: tracks start over"
        return None

    def _forget(self, settings: HazardSettings) -> None:
        """Drops what has been missing too long, and the weakest where there are too many."""
        kept = [track for track in self.tracks if _is_kept(track, settings)]
        if len(kept) > 2 * settings.max_hazards:
            kept.sort(key=lambda track: (track.state is not State.ACTIVE, track.missed, -track.detection.region.area))
            kept = sorted(kept[: 2 * settings.max_hazards], key=lambda track: track.id)
        self.tracks = kept


def _is_kept(track: Track, settings: HazardSettings) -> bool:
    just_cleared = track.state is State.LOST and track.missed == settings.release_count
    return track.state is State.ACTIVE or just_cleared or track.missed <= settings.max_gap


def _predict(track: Track, elapsed: float, vanishing: tuple[float, float] | None, ego_speed: float | None) -> None:
    """Moves a track to where it is expected ``elapsed`` seconds later, taken to stand still.

    With a distance and the ego speed, its picture expands away from the vanishing point (column, row); else it goes on
    as before.
    """
    location = track.detection.location
    depth = location.distance
    nearer = None if depth is None or ego_speed is None else depth - ego_speed * elapsed
    column, row, width, height = track.box
    if depth is not None and nearer is not None and vanishing is not None and nearer > _NEAREST * depth:
        growth = depth / nearer
        middle, horizon = vanishing
        column, row = middle + (column - middle) * growth, horizon + (row - horizon) * growth
        track.box = (column, row, width + math.log(growth), height + math.log(growth))
    elif track.rate is not None:
        across, down, wider, higher = track.rate
        growth = math.exp(0.5 * (wider + higher) * elapsed)
        column, row = column + across * elapsed, row + down * elapsed
        track.box = (column, row, width + wider * elapsed, height + higher * elapsed)
    else:
        growth = 1.0
    track.unseen += elapsed
    if depth is not None and location.position is not None and location.distance_std is not None:
        ahead = depth / growth if nearer is None else max(nearer, 0.0)
        x, y, _ = location.position
        deviation = math.hypot(location.distance_std, _MISSING_GROWTH * (depth - ahead))
        track.expected = Location((x, y, ahead), ahead, location.lateral, location.width, deviation, location.source)


def _advance(track: Track, found: Detection | None, settings: HazardSettings, shape: tuple[int, int]) -> None:
    """Takes in that a track was seen, or was not."""
    track.age += 1
    if track.history.maxlen != settings.trigger_window:
        track.history = deque(track.history, maxlen=settings.trigger_window)
    track.history.append(found is not None)
    if found is None:
        track.missed += 1
        region = _moved(track.detection.region, track.box, shape)
        track.detection = replace(track.detection, region=region, location=track.expected)
    else:
        _correct(track, found)
    track.state = _next_state(track, settings)


def _correct(track: Track, found: Detection) -> None:
    box, rate = found.box, track.rate
    if track.unseen > 0:
        across, down, wider, higher = ((new - old) / track.unseen for new, old in zip(box, track.seen, strict=True))
        if rate is not None:
            across, down, wider, higher = (
                old + _RATE_GAIN * (new - old) for new, old in zip((across, down, wider, higher), rate, strict=True)
            )
        track.rate = (across, down, _limited(wider), _limited(higher))
    track.box, track.seen, track.unseen = box, box, 0.0
    track.detection, track.expected, track.missed = found, found.location, 0


def _limited(rate: float) -> float:
    return min(max(rate, -_FASTEST_GROWTH), _FASTEST_GROWTH)


def _moved(region: Region, box: Box, shape: tuple[int, int]) -> Region:
    """Returns the region where its box is expected, as far as the image shows that."""
    left, width = _cut(box[0], box[2], shape[1])
    top, height = _cut(box[1], box[3], shape[0])
    centroid = (left + 0.5 * (width - 1), top + 0.5 * (height - 1))
    return replace(region, left=left, top=top, width=width, height=height, centroid=centroid)


def _cut(middle: float, log_size: float, length: int) -> tuple[int, int]:
    """Returns start and size of a box along one axis of an image; at least one pixel of the image remains."""
    half = 0.5 * math.exp(min(log_size, math.log(4 * length)))
    first = min(max(round(middle + 0.5 - half), 0), length - 1)
    return first, max(1, min(round(middle + 0.5 + half), length) - first)


def _next_state(track: Track, settings: HazardSettings) -> State:
    if track.state is State.ACTIVE:
        return State.LOST if track.missed >= settings.release_count else State.ACTIVE
    if sum(track.history) >= settings.trigger_count and not track.missed:
        return State.ACTIVE
    return track.state if track.state is State.LOST and track.missed else State.CANDIDATE


def associate(expected: Sequence[Sight], seen: Sequence[Sight], width: int) -> dict[int, int]:
    """Matches what is expected with what is seen so that the sum of costs is least.

    Boxes that overlap match at the cost of one minus their overlap, and half more where their places on the ground
    contradict it. Where boxes do not overlap, places within a gate match at a higher cost.

    Args:
        expected: Tracks, moved to this frame.
        seen: Regions of this frame.
        width: Columns of the image.

    Returns:
        Index in ``expected`` -> index in ``seen``.
    """
    if not expected or not seen:
        return {}
    overlap = _overlaps(_edges(expected, width), _edges(seen, width))
    aside_expected, ahead_expected, deviation_expected = _ground(expected)
    aside_seen, ahead_seen, deviation_seen = _ground(seen)
    ahead = np.abs(ahead_expected[:, None] - ahead_seen)
    aside = np.abs(aside_expected[:, None] - aside_seen)
    deviation = 3.0 * np.hypot(deviation_expected[:, None], deviation_seen)
    gate = np.minimum(np.maximum(deviation, _GATE), _WIDEST_GATE)
    # Comparisons with NaN, where a position is unknown, are False: then the image alone decides.
    near = (ahead <= gate) & (aside <= _SIDE_GATE)
    far = (ahead > _GATE + deviation) | (aside > _SIDE_GATE + deviation)
    on_ground = np.where(near, 2.0 + 0.5 * (ahead / gate + aside / _SIDE_GATE), _FORBIDDEN)
    cost = np.where(overlap >= _SMALLEST_OVERLAP, 1.0 - overlap + _CONTRADICTED * far, on_ground)
    rows, columns = linear_sum_assignment(cost)
    fitting = cost[rows, columns] < _FORBIDDEN
    return dict(zip(rows[fitting].tolist(), columns[fitting].tolist(), strict=True))


def _edges(sights: Sequence[Sight], width: int) -> np.ndarray:
    """Edges of padded boxes, float64 [4, N]: left, top, right, bottom."""
    column, row, wide, high = np.array([sight.box for sight in sights]).T
    wide, high = np.exp(wide), np.exp(high)
    padding = np.maximum(_PADDING * width, _PADDING_SHARE * 0.5 * (wide + high))
    across, down = 0.5 * wide + padding, 0.5 * high + padding
    return np.stack([column - across, row - down, column + across, row + down])


def _overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of all pairs of boxes, float64 [N, M], from their edges [4, N] and [4, M]."""
    left, top, right, bottom = first[:, :, None]
    across = np.minimum(right, second[2]) - np.maximum(left, second[0])
    down = np.minimum(bottom, second[3]) - np.maximum(top, second[1])
    common = np.maximum(across, 0.0) * np.maximum(down, 0.0)
    area = (second[2] - second[0]) * (second[3] - second[1])
    return common / ((right - left) * (bottom - top) + area - common)


def _ground(sights: Sequence[Sight]) -> np.ndarray:
    """Lateral offset, distance and its standard deviation, float64 [3, N]; NaN where unknown."""
    locations = [sight.location for sight in sights]
    rows = [(location.lateral, location.distance, location.distance_std) for location in locations]
    return np.array(rows, dtype=np.float64).T  # None becomes NaN
