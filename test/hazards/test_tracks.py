# SPDX-License-Identifier: Apache-2.0
"""Ids that last, and the hysteresis that raises and clears hazards."""

from __future__ import annotations

import math

import pytest

from densehybrid_ros.datasets.camera import Camera
from densehybrid_ros.hazards.hazard import Location, Region, Source, State
from densehybrid_ros.hazards.settings import HazardSettings
from densehybrid_ros.hazards.tracks import Detection, Sight, Tracker, associate

SHAPE = (512, 1024)
CAMERA = Camera(1024, 512, 1131.0, 1131.0, 511.5, 255.5, 0.21, 0.0, 1.22)
SETTINGS = HazardSettings(trigger_count=3, trigger_window=5, release_count=4, max_gap=6)
HERTZ = 10.0


def seen_at(x: float, z: float, width: float = 0.6, height: float = 0.5, known: bool = True) -> Detection:
    """What the camera sees of a box on the road at x, z in metres; its place is told if ``known``."""
    left, right = (CAMERA.cx + CAMERA.fx * (x + side * width / 2) / z for side in (-1, 1))
    bottom, top = (CAMERA.cy + CAMERA.fy * (CAMERA.mount_height - up) / z for up in (0.0, height))
    box = round(left), round(top), max(1, round(right - left)), max(1, round(bottom - top))
    region = Region(box[2] * box[3], *box, (0.0, 0.0), 1.0, 1.0)
    place = Location((x, CAMERA.mount_height, z), z, x, width, 0.1 * z, Source.GROUND_PLANE)
    return Detection(region, place if known else Location(), 0.9)


class Run:
    """Feeds a tracker at 10 Hz."""

    def __init__(self, settings: HazardSettings = SETTINGS, camera: Camera | None = None, speed: float | None = None):
        self.tracker, self.settings = Tracker(), settings
        self.camera, self.speed = camera, speed
        self.stamp = 100.0

    def __call__(self, *detections: Detection) -> list[tuple[int, State]]:
        self.problem = self.tracker.update(self.stamp, detections, self.settings, SHAPE, self.camera, self.speed)
        self.stamp += 1 / HERTZ
        return [(track.id, track.state) for track in self.tracker.tracks]


C, A, L = (1, State.CANDIDATE), (1, State.ACTIVE), (1, State.LOST)


@pytest.mark.parametrize(
    ("settings", "seen", "states"),
    [
        (SETTINGS, "x.x.x", [C, C, C, C, A]),
        (SETTINGS, "x..x..x..x..", [C] * 12),  # 2 of any 5 frames at most
        (HazardSettings(trigger_count=1, trigger_window=1), "x", [A]),
        (SETTINGS, "xxx.......", [C, C, A, A, A, A, L, L, L, None]),
        (SETTINGS, "xxx.....xxx", [C, C, A, A, A, A, L, L, C, C, A]),  # it keeps its id and must be raised again
        (HazardSettings(trigger_count=1, trigger_window=1, release_count=4, max_gap=0), "x.....", [A] * 4 + [L, None]),
    ],
    ids=["raised", "too rare", "at once", "cleared and forgotten", "comes back", "shown once as lost"],
)
def test_life_of_a_hazard(settings: HazardSettings, seen: str, states: list) -> None:
    run, box = Run(settings), seen_at(0, 20)
    found = [run(*[box] * (mark == "x")) for mark in seen]
    assert found == [[] if state is None else [state] for state in states]


@pytest.mark.parametrize("known", [True, False], ids=["located", "image alone"])
@pytest.mark.parametrize("speed", [None, 14.0])
def test_two_obstacles_passed_at_14_metres_a_second_keep_their_ids(known: bool, speed: float | None) -> None:
    """Both are missed in every fourth frame; the box of the near one grows from 14 to 140 pixels."""
    run = Run(camera=CAMERA, speed=speed)
    owners: dict[int, set[int]] = {0: set(), 1: set()}
    for frame in range(30):
        z = 48.0 - 1.4 * frame
        boxes = [seen_at(-0.9, z, known=known), seen_at(0.9, z + 3.0, known=known)]
        visible = [index for index in (0, 1) if (frame + index) % 4 != 3]
        run(*[boxes[index] for index in visible])
        for index in visible:
            (track,) = [track for track in run.tracker.tracks if track.detection is boxes[index]]
            owners[index].add(track.id)
    assert owners == {0: {1}, 1: {2}}


def test_unseen_hazard_is_expected_nearer_and_larger_and_less_certain() -> None:
    run = Run(camera=CAMERA, speed=10.0)
    for frame in range(3):
        run(seen_at(1.0, 20.0 - frame))
    certain = run.tracker.tracks[0].detection
    for _ in range(3):
        run()
    missing = run.tracker.tracks[0].detection
    truth = seen_at(1.0, 15.0)
    assert missing.location.distance == pytest.approx(15.0)
    assert missing.location.lateral == 1.0
    assert (missing.location.distance_std or 0) > (certain.location.distance_std or 0)
    for name in ("left", "top", "width", "height"):
        assert getattr(missing.region, name) == pytest.approx(getattr(truth.region, name), abs=3)


def test_without_speed_the_growth_of_the_box_tells_how_near_it_comes() -> None:
    run = Run(camera=CAMERA)
    for frame in range(6):
        run(seen_at(1.0, 20.0 - frame))
    run()
    run()
    assert run.tracker.tracks[0].detection.location.distance == pytest.approx(13.0, abs=0.5)


def test_box_that_leaves_the_image_is_cut_at_its_border() -> None:
    run = Run(camera=CAMERA, speed=14.0)
    for frame in range(4):
        run(seen_at(1.0, 8.0 - 1.4 * frame))
    for _ in range(3):
        run()
        (track,) = run.tracker.tracks
        region = track.detection.region
        assert 0 <= region.left < region.left + region.width <= SHAPE[1]
        assert 0 <= region.top < region.top + region.height <= SHAPE[0]


def test_boxes_that_part_at_one_place_are_told_apart_on_the_ground() -> None:
    """Far and near obstacle, one behind the other: their boxes overlap, their distances do not."""
    run = Run(camera=CAMERA, speed=10.0)
    for frame in range(6):
        near, far = seen_at(0.0, 14.0 - frame), seen_at(0.1, 21.0 - frame, height=1.4)
        run(*([near, far] if frame % 2 else [far, near]))
    distances = {track.id: track.detection.location.distance for track in run.tracker.tracks}
    assert sorted(distances.values(), key=float) == [9.0, 16.0]  # type: ignore[arg-type]
    assert len(distances) == 2


@pytest.mark.parametrize(
    ("stamp", "problem"),
    [(50.0, "jumps back by 50.2"), (107.3, "no frame for 7.1 s"), (math.nan, "stamp is nan"), (100.2, None)],
)
def test_a_stamp_that_jumps_makes_the_tracks_start_over(stamp: float, problem: str | None) -> None:
    run, box = Run(), seen_at(0, 20)
    for _ in range(3):
        run(box)
    assert run.problem is None
    run.stamp = stamp
    assert run(box) == [(2, State.CANDIDATE) if problem else (1, State.ACTIVE)]
    assert problem is None or problem in str(run.problem)
    run.stamp = 110.0 if math.isnan(stamp) else run.stamp
    run(box)
    assert run.problem is None


def test_the_number_of_tracks_is_bounded() -> None:
    settings = HazardSettings(max_hazards=5)
    run = Run(settings)
    for frame in range(20):
        run(*[seen_at(0.7 * index - 2 + 0.05 * frame, 12.0 + 3 * (frame % 5), 0.1, 0.1) for index in range(5)])
        assert len(run.tracker.tracks) <= 10


WIDTH = 1000


def sight(column: float, row: float = 300.0, place: tuple[float, float] | None = None) -> Sight:
    """A square box; ``place`` is its lateral offset and its distance in metres."""
    box = (column, row, math.log(40.0), math.log(40.0))
    if place is None:
        return Sight(box, Location())
    return Sight(box, Location((place[0], 1.2, place[1]), place[1], place[0], 0.5, 0.2, Source.DISPARITY))


@pytest.mark.parametrize(
    ("expected", "seen", "matches"),
    [
        # The sum of all costs counts, not the first best: the first track overlaps both, the second only one of them.
        ([sight(100), sight(130)], [sight(122), sight(85)], {0: 1, 1: 0}),
        ([sight(100)], [sight(300)], {}),
        ([sight(100, place=(-3.0, 20.0))], [sight(300, place=(3.0, 20.0))], {}),
        ([sight(100, 300, (0.0, 20.0))], [sight(100, 420, (0.0, 60.0))], {}),
        ([], [sight(300)], {}),
        ([sight(300)], [], {}),
        # A kick of the camera's pitch moves all boxes and no place.
        ([sight(100, 300, (-1.0, 20.0))], [sight(100, 420, (-1.0, 20.5))], {0: 0}),
        # Of equal boxes the ground decides.
        (
            [sight(100, place=(0.0, 10.0)), sight(100, place=(0.0, 30.0))],
            [sight(100, place=(0.0, 29.5)), sight(100, place=(0.0, 9.5))],
            {0: 1, 1: 0},
        ),
        # A place that is known on one side only leaves it to the image.
        ([sight(100, place=(0.0, 10.0))], [sight(104)], {0: 0}),
    ],
)
def test_which_hazard_is_which_region(expected: list[Sight], seen: list[Sight], matches: dict[int, int]) -> None:
    assert associate(expected, seen, WIDTH) == matches
