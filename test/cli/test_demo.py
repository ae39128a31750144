# SPDX-License-Identifier: Apache-2.0
"""``densehybrid demo`` with the real node in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

pytest.importorskip("rclpy")

from densehybrid_ros.bags.reader import BagFrames
from densehybrid_ros.bags.sources import RenderedFrames
from densehybrid_ros.bags.storage import open_storage
from densehybrid_ros.bags.writer import BagWriter
from densehybrid_ros.cli.main import main
from densehybrid_ros.datasets.pictures import write_picture
from densehybrid_ros.datasets.video_file import video_file
from densehybrid_ros.demo.answers import answered_frames
from densehybrid_ros.evaluation.replay import known_frames
from densehybrid_ros.inference import Segmenter
from densehybrid_ros.networks import ModelCard, load_model, save_model
from densehybrid_ros.perception.settings import Settings

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def model(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights, about half of whose pixels are unknown."""
    path, random = tmp_path_factory.mktemp("model") / "random.safetensors", load_model(model_path)
    image = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    score = Segmenter(random, "eager", "cpu")(image, 0.0).anomaly_score
    card = ModelCard("random", "light", thresholds={"median": float(np.median(score))}, default_threshold="median")
    save_model(path, random.network, card)
    return path


@pytest.fixture
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty small pictures."""
    folder = tmp_path_factory.mktemp("frames")
    for index in range(20):
        write_picture(folder / f"{index}.jpg", np.full((48, 96, 3), 10 * index, np.uint8))
    return folder


def node_processes(model: Path) -> list[int]:
    """Process ids of perception nodes that run this test's model."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "densehybrid_ros.nodes" in line and str(model) in line:
            found.append(int(process.name))
    return found


def wait_for_node(model: Path, present: bool, timeout: float = 30.0) -> bool:
    deadline = time.monotonic() + timeout
    while bool(node_processes(model)) != present:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_rendered_drive_from_end_to_end(model: Path, tmp_path: Path, capsys) -> None:
    output, figures_file = tmp_path / "out", tmp_path / "figures.json"

    arguments = ["--model", model, "--count", 4, "--size", "128x64", "--output", output, "--json", figures_file]
    assert main(["demo", *map(str, arguments)]) == 0

    printed = capsys.readouterr()
    assert "4 sent, 4 processed, 0 dropped, 0 rejected" in printed.out
    for stage in ("rendering the drive", "driving", "writing the page"):
        assert f"{stage}: 4 frames in" in printed.err
    figures = json.loads(figures_file.read_text())
    assert (figures["sent"], figures["processed"], figures["answered"]) == (4, 4, 4)
    assert figures == json.loads((output / "summary.json").read_text())
    assert (output / "index.html").is_file()
    assert len(list((output / "overlay").glob("*.jpg"))) == 4
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert not node_processes(model)

    segmenter = Segmenter(load_model(model), "eager", "cpu")
    threshold = segmenter.card.threshold()
    played = known_frames(BagFrames(output / "drive"), Settings())
    for answered in answered_frames(played, output / "perception"):
        expected = segmenter(answered.frame.image, threshold)
        np.testing.assert_array_equal(answered.semantic, expected.semantic)
        np.testing.assert_array_equal(answered.score, expected.anomaly_score)
        np.testing.assert_array_equal(answered.open_set, expected.open_set)
        assert answered.alert is not None
        assert answered.overlay is not None


def test_real_frames_at_a_rate_and_the_output_is_replaced_whole(
    model: Path, frames: Path, tmp_path: Path, capsys
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / ".densehybrid_demo").touch()
    (output / "old.txt").touch()

    arguments = ["--model", model, "--frames", frames, "--output", output]
    assert main(["demo", *map(str, arguments), "--rate", "2", "--fps", "5", "--seconds", "0.6"]) == 0

    assert "3 sent" in capsys.readouterr().out
    assert not (output / "old.txt").exists()
    assert [frame.image.shape for frame in BagFrames(output / "drive")] == [(48, 96, 3)] * 3
    assert "/perception/output/hazard_alert" in open_storage(output / "perception").topics


def test_a_bag_with_truth_and_a_video_are_shown(model: Path, tmp_path: Path) -> None:
    bag, video = tmp_path / "bag", tmp_path / "drive.mp4"
    rendered = list(RenderedFrames(3, 3, (128, 64), 5.0))
    rendered[1] = replace(rendered[1], disparity=None)  # there the mount alone tells distances
    with BagWriter(bag) as writer:
        for frame in rendered:
            writer.write(frame)
    with video_file(video, 50_000_000) as show:
        for frame in rendered:
            show(frame.image)

    first = BagFrames(bag)
    for source, size, step in ((bag, (64, 32), 0.2), (video, (128, 64), 0.05)):
        output = tmp_path / f"{source.stem}_out"
        given = ["--size", "64x32"] if source == bag else []
        arguments = ["demo", "--frames", source, "--count", 2, *given, "--model", model, "--output", output]
        assert main([str(word) for word in arguments]) == 0
        figures = json.loads((output / "summary.json").read_text())
        assert (figures["sent"], figures["answered"]) == (2, 2)
        played = list(BagFrames(output / "drive"))
        assert [frame.image.shape[1::-1] for frame in played] == [size] * 2
        assert played[1].stamp - played[0].stamp == pytest.approx(step * 1e9)
        assert (figures["truth"] is None) == (source == video)
        (_, known), *_ = known_frames(BagFrames(output / "drive"), Settings(base_frame="base_link"))
        assert (known.placed_camera is None) == (source == video)
        if known.placed_camera:
            answers = answered_frames(known_frames(BagFrames(output / "drive"), Settings()), output / "perception")
            alerts = [answered.alert for answered in answers]
            assert [alert and "mount" in alert.summary.values["problems"] for alert in alerts] == [False, False]
            (_, before), *_ = known_frames(first, Settings(base_frame="base_link"))
            assert known.ego_speed == before.ego_speed
            assert before.placed_camera is not None
            assert known.placed_camera.mount_height == pytest.approx(before.placed_camera.mount_height)
            assert known.placed_camera.fx == pytest.approx(before.placed_camera.fx / 2)
            assert known.disparity is not None
            assert before.disparity is not None
            depths = [item.focal * item.baseline / item.pixels.max() for item in (known.disparity, before.disparity)]
            assert depths[0] == pytest.approx(depths[1], rel=0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_process_and_no_folder(
    model: Path, frames: Path, tmp_path: Path, number: signal.Signals
) -> None:
    words = ("demo", "--model", model, "--frames", frames, "--output", tmp_path / "out")
    demo = subprocess.Popen(
        [sys.executable, "-m", "densehybrid_ros", *map(str, words)],
        start_new_session=True,
        # A shell's background job ignores SIGINT, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        stderr=subprocess.PIPE,
    )
    try:
        assert wait_for_node(model, present=True)
        demo.send_signal(number)
        assert demo.wait(30) == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    finally:
        demo.kill()
        demo.communicate()
    assert wait_for_node(model, present=False, timeout=5)
    assert list(tmp_path.iterdir()) == []


def test_death_of_the_node_is_one_line_with_the_end_of_its_log(
    model: Path, frames: Path, tmp_path: Path, capsys
) -> None:
    killer = Thread(target=kill_active_node, args=(model, tmp_path))
    killer.start()
    status = main(["demo", "--model", str(model), "--frames", str(frames), "--output", str(tmp_path / "out")])
    killer.join()

    assert status == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("densehybrid demo: perception_node ended with status -9: its log ends: ")
    assert "active: random (light)" in last
    assert list(tmp_path.iterdir()) == []


def kill_active_node(model: Path, folder: Path) -> None:
    """Kills the node as soon as its log, in a folder being made inside ``folder``, says that it is active."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any("active: " in log.read_text() for log in folder.glob(".out.*/out/perception_node.log")):
            (node,) = node_processes(model)
            os.kill(node, signal.SIGKILL)
            return
        time.sleep(0.02)
