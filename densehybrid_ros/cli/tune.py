# SPDX-License-Identifier: Apache-2.0
"""``densehybrid tune``: a drive at many thresholds, as a page with a live slider."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from densehybrid_ros.bags.folder import find_bags
from densehybrid_ros.bags.reader import is_labelled_folder
from densehybrid_ros.cli.measuring import distance_edges
from densehybrid_ros.cli.node_parameters import add_drive_options, given_settings, open_drive, open_model, warn
from densehybrid_ros.cli.options import add_json, count, not_negative, output_file, several, threshold
from densehybrid_ros.errors import InputError
from densehybrid_ros.evaluation.kept_drive import KeptDrive
from densehybrid_ros.evaluation.replay import check_labels, perceived_answers
from densehybrid_ros.evaluation.text_tables import format_table
from densehybrid_ros.evaluation.tune_page import write_tune_page
from densehybrid_ros.evaluation.tuning import CLEAN, LABELS, Grid, Tuning, threshold_rows, tune
from densehybrid_ros.perception.settings import Settings
from densehybrid_ros.progress import progress

_EXAMPLE = """examples:
  densehybrid tune drive --params-file config/perception.param.yaml --output tuned
  densehybrid tune dashcam.mp4 --clean --false-alarms-per-minute 0.5 --output tuned
  densehybrid tune labelled_set --output tuned.html  # holds image/ and label/"""
_CHOSEN = 25
_MOST_SHOWN = 200
_MOST_SETTINGS = 2000


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.epilog = _EXAMPLE
    what = "a bag, a video, a folder of pictures, or a labelled set (a folder with image/ and label/)"
    parser.add_argument("drive", type=Path, metavar="RECORDING", help=what)
    what = "folder for index.html, or the page itself"
    parser.add_argument("--output", type=Path, required=True, metavar="DIR|FILE.html", help=what)
    add_drive_options(parser, fps="; a labelled set is one of single pictures unless this is given")
    swept = parser.add_argument_group("what is swept")
    what = "default: about 25, chosen from the scores"
    swept.add_argument("--thresholds", type=several(threshold), metavar="NATS|NAME,...", help=what)
    swept.add_argument("--min-hazard-areas", type=_counts, metavar="N,...", help="default: own, twice, four times it")
    swept.add_argument("--trigger-counts", type=_counts, metavar="N,...", help="default: 1, own, trigger_window")
    clean = parser.add_argument_group("a drive without obstacles")
    clean.add_argument("--clean", action="store_true", help="every hazard is a false alarm: propose a threshold")
    what = "wanted with --clean (1)"
    clean.add_argument("--false-alarms-per-minute", type=not_negative, default=1.0, metavar="R", help=what)
    what = f"show one frame of N (default: at most {_MOST_SHOWN} frames)"
    parser.add_argument("--every", type=count, metavar="N", help=what)
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Tunes and prints what the drive suggests."""
    page, settings = _page(args.output), given_settings(args)
    bags = find_bags(args.drive)
    if len(bags) > 1:
        raise InputError(f"{args.drive}: a folder of {len(bags)} bags; tune takes one of them, such as {bags[0].name}")
    are_single = args.fps is None and is_labelled_folder(args.drive)
    own_area = settings.min_hazard_area
    areas = tuple(sorted({own_area, *(args.min_hazard_areas or (2 * own_area, 4 * own_area))}))
    triggers = _triggers(args, settings, are_single)
    if are_single:
        settings = replace(settings, trigger_count=1)
    segmenter, settings, own = open_model(settings)
    card = segmenter.card
    given = [card.threshold(item) for item in args.thresholds or ()]
    recording, perception, total = open_drive(args, bags[0], segmenter, settings, _left_out)
    settings = perception.settings
    every = args.every or max(1, -(-total // _MOST_SHOWN))
    drive = KeptDrive([own, *given], not given, every, args.clean, card.region_classifier)
    answers = perceived_answers(recording, perception, _left_out, args.limit)
    for answer in progress(answers, f"tune {args.drive.name}", total):
        try:
            check_labels(answer.recorded, f"{bags[0]}: {recording.topics.labels}")
        except InputError as error:
            _left_out(str(error), 1)
            continue
        drive.add(answer)
        if args.clean and drive.obstacles:
            raise InputError(f"--clean: {args.drive} has labelled obstacles; leave --clean out")
    grid = Grid(drive.thresholds(_CHOSEN), areas, triggers)
    if not drive.frames:
        raise InputError(f"{args.drive}: no frame could be perceived")
    if len(grid.settings()) > _MOST_SETTINGS:
        raise InputError(f"{len(grid.settings())} settings: name fewer values, {_MOST_SETTINGS} combinations at most")
    by = CLEAN if args.clean else LABELS if drive.obstacles else ""
    tuning = tune(drive, card, settings, grid, distance_edges(None), by, args.false_alarms_per_minute)
    write_tune_page(page, tuning, drive, settings, args.drive.name, card.name, are_single)
    _publish(args, tuning, page, are_single)
    return 0


def _counts(text: str) -> tuple[int, ...]:
    return tuple(sorted(set(several(count)(text))))


def _triggers(args: argparse.Namespace, settings: Settings, are_single: bool) -> tuple[int, ...]:
    own, window = settings.trigger_count, settings.trigger_window
    if are_single:
        return (1,)  # no object is seen in two pictures
    chosen = {own, *(args.trigger_counts or (1, window))}
    if max(chosen) > window:
        raise InputError(f"--trigger-counts {max(chosen)}: above trigger_window {window}; raise that with -p")
    return tuple(sorted(chosen))


def _page(output: Path) -> Path:
    """The page's file; refuses what can't be one before any work is done."""
    try:
        return output_file(str(output if output.suffix == ".html" else output / "index.html"))
    except argparse.ArgumentTypeError as error:
        raise InputError(f"--output {output}: {error}") from error


def _left_out(reason: str, frames: int) -> None:
    warn(f"left out: {reason}")


def _publish(args: argparse.Namespace, tuning: Tuning, page: Path, are_single: bool) -> None:
    own, rows = tuning.own, tuning.rows()
    for row in rows if are_single else ():
        row |= dict.fromkeys((key for key in row if key.endswith("_per_minute")), None)
    here = [row for row in rows if not row["ego_mask"] and (row["min_hazard_area"], row["trigger_count"]) == own[1:]]
    print(format_table(*threshold_rows(here)))
    if text := tuning.proposal_text():
        print(f"\n{text}")
    if tuning.mask is not None:
        print(f"ego mask: {100 * tuning.mask.mean():.1f} % of the picture stay unknown at one place; see the page")
    if tuning.mask_left_out:
        print("ego mask: left out what also stays unknown at one place and is no own vehicle: large, or ahead")
    print(f"page: {page}")
    if args.json:
        proposal = {"by": tuning.by or None, "threshold": tuning.proposal(*own[1:])}
        content = {"own": own._asdict(), "proposal": proposal, "settings": rows}
        args.json.write(content)
