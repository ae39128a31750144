# SPDX-License-Identifier: Apache-2.0
"""What the hazard stage costs, and how good it is on a rendered drive, where the truth is exact.

Cost: masks of 2048x1024 with 50 regions on one core, beside OpenCV's labelling of the same mask. Quality: a detector is
imitated, as the class ImitatedDetector says; obstacles and false regions get drawn scores, the truth stays known.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import cv2
import numpy as np

from densehybrid_ros.cli.options import count, output_file, seed, size
from densehybrid_ros.confidence import Confidence
from densehybrid_ros.datasets.pictures import write_picture
from densehybrid_ros.datasets.rendered_road import render_drive, standard_camera
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES
from densehybrid_ros.errors import InputError
from densehybrid_ros.hazards import HazardChain, HazardFrame, HazardSettings, Source
from densehybrid_ros.progress import progress
from hazard_picture import hazard_picture
from rehearsal import ImitatedDetector, Rehearsal, false_alarms_at, without_tracker
from running import run_benchmark, seconds

_NOISE = (0.0, 0.001, 0.02, 0.1, 0.3)
_REGIONS_DOWN, _REGIONS_ACROSS = 5, 10
_THRESHOLDS = tuple(float(value) for value in np.arange(-6.0, 6.1, 1.0))
_RECALLS = (0.6, 0.7, 0.8, 0.9)
_AREA_AT_2048 = 50
_SHOWN_THRESHOLD, _SHOWN_SPEED = -1.0, 10.0  # nats, and about the rendered drive's metres a second


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.epilog = "example:\n  python tools/benchmarks/hazards.py --repeats 300 --frames 80 --picture hazards.jpg"
    parser.add_argument("--repeats", type=count, default=200, help="frames of which the median is taken (200)")
    parser.add_argument("--size", type=size, default=(2048, 1024), metavar="WxH", help="of those frames (2048x1024)")
    parser.add_argument("--frames", type=count, default=80, help="frames of the rendered drive (80)")
    parser.add_argument(
        "--drive-size", type=size, default=(1024, 512), metavar="WxH", help="of the rendered drive (1024x512)"
    )
    parser.add_argument("--seed", type=seed, default=0, help="of the rendered drive (0)")
    parser.add_argument(
        "--picture", type=output_file, metavar="FILE", help="write what the stage says about a frame (.jpg, .png)"
    )


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Measures and returns the figures and the text to print.

    Raises:
        InputError: The picture can't be written.
    """
    if args.picture and args.picture.suffix.lower() not in (".jpg", ".png"):
        raise InputError(f"--picture {args.picture}: name a .jpg or .png file")
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        costs = [_cost(args.size, noise, args.repeats) for noise in _NOISE]
    finally:
        cv2.setNumThreads(before)
    quality = _quality(args)
    width, height = args.size
    figures = {"width": width, "height": height, "repeats": args.repeats, "costs": costs, "quality": quality}
    return figures, _text(figures)


def _cost(frame_size: tuple[int, int], noise: float, repeats: int) -> dict[str, Any]:
    """Times the stage and OpenCV's labelling in turn, so that both meet the same load of the machine."""
    width, height = frame_size
    semantic, score, disparity = _scene(width, height, noise)
    unknown, mask = score > 0, (score > 0).view(np.uint8)
    camera = standard_camera(width, height)
    chain = HazardChain(CITYSCAPES_CLASSES, Confidence(0.0, 2.0))
    settings = HazardSettings(min_hazard_area=_area(width))
    stage, processor, labelling = [], [], []
    for index in range(repeats + settings.trigger_count):
        began, worked = time.perf_counter(), time.process_time()
        frame = chain.update(0.1 * index, semantic, score, unknown, 0.0, settings, camera, disparity, 0.0)
        stage.append(time.perf_counter() - began)
        processor.append(time.process_time() - worked)
        labelling.append(seconds(lambda: cv2.connectedComponentsWithStats(mask, connectivity=8)))
    skipped = settings.trigger_count
    own, reference = float(np.median(stage[skipped:])), float(np.median(labelling[skipped:]))
    return {
        "noise": noise,
        "hazards": len(frame.hazards),
        "left_out": frame.regions_left_out,
        "stage_ms": 1e3 * own,
        "stage_processor_ms": 1e3 * float(np.median(processor[skipped:])),
        "labelling_ms": 1e3 * reference,
        "ratio": own / reference,
    }


def _area(width: int) -> int:
    """The smallest hazard in pixels: 50 at 2048 columns, as many of the scene at others."""
    return max(8, round(_AREA_AT_2048 * (width / 2048) ** 2))


def _scene(width: int, height: int, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A road with 50 ellipses on it that grow towards the camera, speckled; semantics, score and disparity."""
    camera = standard_camera(width, height)
    random = np.random.default_rng(0)
    semantic = np.full((height, width), 2, dtype=np.uint8)
    middle, horizon = width / 2, 0.4 * height
    road = np.array([[middle - 2, horizon], [middle + 2, horizon], [1.3 * width, height], [-0.3 * width, height]])
    cv2.fillPoly(semantic, [road.astype(np.int32)], 0)
    mask = np.zeros_like(semantic)
    for down in range(_REGIONS_DOWN):
        row = 0.52 + 0.1 * down
        for across in range(_REGIONS_ACROSS):
            column = 0.5 + (across - 4.5) * (row - 0.4) * 0.21
            radius = width * (0.003 + 0.021 * (row - 0.42))
            centre = round(column * width), round(row * height)
            cv2.ellipse(mask, centre, (round(radius), round(1.2 * radius)), 0, 0, 360, 1, -1)
    speckle = random.random(mask.shape, dtype=np.float32) < noise
    score = random.standard_normal(mask.shape, dtype=np.float32) - np.float32(9.0)
    score[(mask > 0) | speckle] += np.float32(15.0)
    rows = np.array([1 / camera.ground_depth(row) for row in range(height)], dtype=np.float32)
    disparity = np.repeat(rows[:, None], width, axis=1) * np.float32(camera.fx * camera.baseline)
    disparity[mask > 0] += np.float32(5.0)  # they stand up
    disparity += random.standard_normal(mask.shape, dtype=np.float32) * np.float32(0.3)
    return semantic, score, disparity


def _quality(args: argparse.Namespace) -> dict[str, Any]:
    """Rehearses the stage on one drive in several ways at once, so that each frame is rendered once."""
    width, height = args.drive_size
    camera = standard_camera(width, height)
    settings = HazardSettings(min_hazard_area=_area(width))
    sure = ImitatedDetector(1, false_regions=0.0, obstacle_score=8.0, spread=0.0)
    unsure = ImitatedDetector(2)
    measured, plane = Rehearsal(settings, camera), Rehearsal(settings, camera, use_disparity=False)
    tracked = [Rehearsal(settings, camera, threshold) for threshold in _THRESHOLDS]
    alone = [Rehearsal(without_tracker(settings), camera, threshold) for threshold in _THRESHOLDS]
    shown, best, most = Rehearsal(settings, camera, _SHOWN_THRESHOLD, ego_speed=_SHOWN_SPEED), None, (0, 0)
    frames = render_drive(args.seed, args.frames, width, height)
    for frame in progress(frames, "driving", args.frames):
        seen = sure.look(frame)
        measured.add(seen)
        plane.add(seen)
        guessed = unsure.look(frame)
        for rehearsal in (*tracked, *alone):
            rehearsal.add(guessed)
        if args.picture:
            answer = shown.add(guessed)
            shows = _shows(answer)
            if shows > most:
                best, most = hazard_picture(guessed.image, answer), shows
    if best is not None:
        write_picture(args.picture, best, quality=85)
    of_tracked, of_alone = [item.figures for item in tracked], [item.figures for item in alone]
    return {
        "width": width,
        "height": height,
        "frames": args.frames,
        "seed": args.seed,
        "disparity": _position_figures(measured, Source.DISPARITY),
        "ground_plane": _position_figures(plane, Source.GROUND_PLANE),
        "trigger_count": settings.trigger_count,
        "alert_latencies": sorted(set(measured.figures.latencies)),
        "obstacles": len(measured.figures.latencies),
        "id_switches": measured.figures.id_switches + plane.figures.id_switches,
        "false_alarms_a_frame": [
            {
                "recall": recall,
                "with_tracker": false_alarms_at(recall, of_tracked),
                "without": false_alarms_at(recall, of_alone),
            }
            for recall in _RECALLS
        ],
    }


def _shows(frame: HazardFrame) -> tuple[int, int]:
    """How much a picture of a frame would show: different things first, and then as few as possible."""
    everything = (*frame.hazards, *frame.candidates)
    return len({(hazard.state, hazard.level) for hazard in everything}), -len(everything)


def _position_figures(rehearsal: Rehearsal, source: Source) -> dict[str, Any]:
    figures = rehearsal.figures
    errors = np.array(figures.errors.get(source.value, [])).reshape(-1, 2)
    distance = np.abs(errors[:, 0])
    return {
        "positions": len(errors),
        "within_1_sigma": figures.coverage(source, 1.0),
        "within_2_sigma": figures.coverage(source, 2.0),
        "median_error_m": float(np.median(distance)) if len(errors) else None,
        "median_sigma_m": float(np.median(errors[:, 1])) if len(errors) else None,
    }


def _text(figures: dict[str, Any]) -> str:
    quality = figures["quality"]
    head = f"{figures['width']}x{figures['height']}, one core, median of {figures['repeats']} frames; times in ms"
    columns = ("speckle", "hazards", "left out", "stage", "processor", "labelling", "ratio")
    lines = [head, "", "".join(f"{name:>11}" for name in columns)]
    for cost in figures["costs"]:
        times = "".join(f"{cost[name]:>11.2f}" for name in ("stage_ms", "stage_processor_ms", "labelling_ms", "ratio"))
        lines.append(f"{cost['noise']:>11.1%}{cost['hazards']:>11}{cost['left_out']:>11}{times}")
    lines += ["", f"rendered drive of {quality['frames']} frames, {quality['width']}x{quality['height']}"]
    for name in ("disparity", "ground_plane"):
        found = quality[name]
        if found["positions"]:
            within = f"{found['within_1_sigma']:.1%} within 1 sigma, {found['within_2_sigma']:.1%} within 2"
            error = f"median error {found['median_error_m']:.2f} m, sigma {found['median_sigma_m']:.2f} m"
            lines.append(f"{name}: {found['positions']} positions, {within}; {error}")
    latencies = ", ".join(str(frames) for frames in quality["alert_latencies"])
    lines.append(f"alert {latencies} frames after the first sighting (trigger_count {quality['trigger_count']})")
    lines.append(f"id switches of obstacles that nothing hides: {quality['id_switches']}, in two runs")
    lines += ["", "false alarms a frame at equal recall, with and without the tracker:"]
    for row in quality["false_alarms_a_frame"]:
        lines.append(f"  recall {row['recall']:.1f}: {row['with_tracker']:.3f} and {row['without']:.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_benchmark(configure, run))
