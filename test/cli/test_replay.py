# SPDX-License-Identifier: Apache-2.0
"""``densehybrid replay`` on a short rendered drive, on pictures and on a video."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from rendered_bag import write_drive
from sklearn.metrics import roc_auc_score

from densehybrid_ros.bags.reader import BagFrames
from densehybrid_ros.bags.sources import RenderedFrames
from densehybrid_ros.bags.topics import BagTopics
from densehybrid_ros.bags.writer import BagWriter
from densehybrid_ros.cli.main import main
from densehybrid_ros.datasets.pictures import write_picture
from densehybrid_ros.datasets.video_file import video_file
from densehybrid_ros.networks import load_model, upsample
from densehybrid_ros.scores import hybrid

FRAMES = 4


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drive(tmp_path_factory.mktemp("bag") / "drive", FRAMES)


def _replay(bag: Path, model: Path, *options: object) -> int:
    return main([str(word) for word in ("replay", bag, "--model", model, "--device", "cpu", *options)])


def _figures(path: Path) -> dict:
    content = json.loads(path.read_text())
    for key in ("seconds", "latency_ms", "device"):
        del content[key]
    return content


def _figures_with(bag: Path, folder: Path, *options: object) -> dict:
    """The figures of a replay by the shipped model with these parameters."""
    words = ("replay", bag, "--json", folder / "figures.json", "-p", "device:=cpu", *options)
    assert main([str(word) for word in words]) == 0
    return _figures(folder / "figures.json")


def _parameter_file(path: Path, **values: object) -> Path:
    path.write_text(json.dumps({"/**": {"ros__parameters": values}}))  # JSON is YAML
    return path


def test_figures_are_those_of_the_frames(bag: Path, model_path: Path, tmp_path: Path, capsys) -> None:
    network, scores, labels, seen = load_model(model_path).network, [], [], 0
    for frame in BagFrames(bag):
        image = torch.from_numpy(frame.image.copy()).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            output = network(image)
            score = hybrid(upsample(output.logits, (128, 256)), upsample(output.posterior, (128, 256)))[0].numpy()
        scores.append(score[frame.labels < 2])
        labels.append(frame.labels[frame.labels < 2])
        ids, sizes = torch.from_numpy(frame.instances[frame.labels == 1].astype(int)).unique(return_counts=True)
        seen += int(((ids > 0) & (sizes >= 50)).sum())
    options = ("--threshold", -3, "--speeds", "50,30", "--report", tmp_path / "report")
    for name in ("one", "two"):
        assert _replay(bag, model_path, *options, "--json", tmp_path / f"{name}.json") == 0
    result = _figures(tmp_path / "one.json")
    assert result == _figures(tmp_path / "two.json"), "the same every time"
    printed = capsys.readouterr().out
    assert "distances: measured disparity" in printed
    assert "alerted in time" in printed
    assert "AP by distance" in (tmp_path / "report" / "report.html").read_text()
    alerts = result["hazards"]
    assert alerts["kilometres"] == pytest.approx(alerts["minutes"] * 60 * 0.011, rel=0.3)  # the bag tells the speed
    assert [row["speed"] for row in alerts["speeds"]] == [30.0, 50.0]
    expected = roc_auc_score(np.concatenate(labels), np.concatenate(scores))
    assert result["pixel"]["hybrid"]["auroc"] == pytest.approx(expected, abs=1e-3)
    assert result["obstacles"]["seen"] == seen > 0
    assert result["frames"] == FRAMES


@pytest.mark.parametrize("ending", [".mp4", ".webm"])
def test_the_overlays_as_a_video(bag: Path, model_path: Path, tmp_path: Path, ending: str, capsys) -> None:
    path = tmp_path / f"seen{ending}"
    assert _replay(bag, model_path, "--threshold", -3, "--video", path) == 0
    video = cv2.VideoCapture(str(path))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(10)
    frames = [video.read()[1] for _ in range(FRAMES)]
    assert [frame.shape for frame in frames] == [(128, 256, 3)] * FRAMES
    assert list(tmp_path.iterdir()) == [path]
    assert "OpenCV" not in capsys.readouterr().err


@pytest.mark.ros
def test_live_is_watched_in_the_own_domain_at_the_recorded_pace(
    bag: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("rclpy")
    from diagnostic_msgs.msg import DiagnosticArray

    from densehybrid_ros.demo.spinning import spinning_node
    from densehybrid_ros.demo.transport import private_domain, transport_environment

    heard: list[float] = []
    with private_domain() as domain:
        for name, value in transport_environment(domain).items():
            monkeypatch.setenv(name, value)
        with spinning_node("viewer", domain) as viewer:
            topic = "/perception/output/hazard_alert"
            viewer.create_subscription(DiagnosticArray, topic, lambda alert: heard.append(time.monotonic()), 10)
            figures = _figures_with(bag, tmp_path, "--live", "-p", "trigger_count:=1")
    assert figures["frames"] == FRAMES
    assert len(heard) >= FRAMES
    assert heard[-1] - heard[0] > 0.09 * (FRAMES - 1)  # ten frames a second


def test_a_parameter_file_says_all_that_it_says_to_the_node(
    bag: Path, model_path: Path, tmp_path: Path, capsys
) -> None:
    """Every kind of parameter: text, numbers, sizes, lists; of the model, the camera and the hazards."""
    given = {"model": "light", "threshold_name": "outlier_tpr95", "trigger_count": 1, "min_hazard_area": 8}
    file = _parameter_file(tmp_path / "drive.yaml", **given, trigger_cuont=1)
    base = _figures_with(bag, tmp_path, "--params-file", file)
    assert "'trigger_cuont' is given, but the node has none of that name; did you mean" in capsys.readouterr().err
    assert base["model"] == "light"
    assert base["threshold"] == pytest.approx(load_model("light").card.threshold("outlier_tpr95"))
    assert base["obstacles"]["threshold"] == base["threshold"]
    assert base["hazards"]["raised"] > base["hazards"]["false_alarms"]

    def changed(*assignments: str) -> dict:
        words = [word for assignment in assignments for word in ("-p", assignment)]
        return _figures_with(bag, tmp_path, "--params-file", file, *words)

    assert changed(f"model:={model_path}", "anomaly_threshold:=-3.0")["model"] == "tiny"
    assert changed("anomaly_threshold:=1000.0")["alerted_frames"] == 0
    resized = changed("input_policy:=resize", "input_size:=[128, 64]")
    assert resized["pixel"]["hybrid"]["auroc"] != base["pixel"]["hybrid"]["auroc"]
    late = changed("trigger_count:=4")
    assert late["pixel"] == base["pixel"]
    assert [moment["hazards"] for moment in late["hazards"]["timeline"][:3]] == [0, 0, 0]


def test_the_camera_and_the_speed_come_from_the_recording_else_from_the_parameters(tmp_path: Path) -> None:
    alone = write_drive(tmp_path / "alone", FRAMES, disparity=None, speed=None)
    options = ("-p", "threshold_name:=outlier_tpr95", "-p", "min_hazard_area:=8", "-p", "trigger_count:=1")
    base = _figures_with(alone, tmp_path, *options)
    assert base["hazards"]["kilometres"] is None
    assert base["distance_source"] == "ground plane of camera_info and mount"
    high = _figures_with(alone, tmp_path, *options, "-p", "camera_height:=2.5", "-p", "ego_speed:=10.0")
    assert high["hazards"]["kilometres"] == pytest.approx(high["hazards"]["minutes"] * 60 * 0.01)
    assert high["pixel"] == base["pixel"]
    assert high["distances"] != base["distances"]
    far, near = ([moment["nearest"] for moment in item["hazards"]["timeline"]] for item in (high, base))
    assert any(near)
    assert all(one > other for one, other in zip(far, near, strict=True) if other)


def _same(one: object, other: object) -> bool:
    """Whether two figures, or two trees of them, are the same to 1e-3."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, abs=1e-3)
    return one == other


def _assert_same_both_ways(bag: Path, folder: Path, *options: object) -> dict:
    direct, node = (_figures_with(bag, folder, *options, "--through", way) for way in ("model", "node"))
    for name, figures in direct.items():
        assert _same(figures, node[name]), name
    assert direct.keys() == node.keys()
    return node


@pytest.mark.ros
def test_both_ways_give_the_same_figures_alerts_included(bag: Path, tmp_path: Path) -> None:
    pytest.importorskip("rclpy")
    # What is read back is published though it is switched off; and -p counts before what the file says of one node.
    values = {"model": "light", "threshold_name": "outlier_tpr95", "min_hazard_area": 8, "publish_semantic": False}
    file = _parameter_file(tmp_path / "drive.yaml", **values, publish_hazard_alert=False, trigger_window=4)
    content = json.loads(file.read_text()) | {"perception": {"ros__parameters": {"trigger_count": 4}}}
    file.write_text(json.dumps(content))
    figures = _assert_same_both_ways(bag, tmp_path, "--params-file", file, "-p", "trigger_count:=1")
    assert figures["frames"] == FRAMES
    assert figures["distance_source"] == "measured disparity"
    hazards = figures["hazards"]
    assert hazards["raised"] > 0
    assert hazards["problems"] == {}
    assert hazards["kilometres"] > 0
    assert hazards["distance_error"] is not None
    assert any(moment["nearest"] for moment in hazards["timeline"])


@pytest.mark.ros
def test_both_ways_give_the_same_figures_of_compressed_pictures_of_another_name(tmp_path: Path) -> None:
    pytest.importorskip("rclpy")
    path, names = tmp_path / "left", BagTopics(image="/left/image_rect", labels="/left/labels")
    with BagWriter(path, topics=names, compression="png") as writer:
        for frame in RenderedFrames(3, FRAMES, (256, 128), 10.0):
            writer.write(replace(frame, disparity=None, speed=None))
    file = _parameter_file(tmp_path / "drive.yaml", threshold_name="outlier_tpr95", min_hazard_area=8, ego_speed=10.0)
    options = ("--params-file", file, "-p", "trigger_count:=1", "-p", "camera_height:=1.25", "--limit", 3)
    topics = ("--topics", "image=/left/image_rect,labels=/left/labels")
    figures = _assert_same_both_ways(path, tmp_path, *options, *topics)
    assert (figures["frames"], len(figures["hazards"]["timeline"])) == (3, 3)
    assert figures["distance_source"] == "ground plane of camera_info and mount"
    assert figures["hazards"]["raised"] > 0


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number, frame in enumerate(RenderedFrames(5, 3, (128, 64), 10.0)):
        write_picture(tmp_path / "pictures" / f"{number}.png", frame.image)
    return tmp_path / "pictures"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "drive.mp4"
    with video_file(path, 50_000_000) as show:
        for frame in RenderedFrames(5, 3, (128, 64), 10.0):
            show(frame.image)
    return path


@pytest.mark.parametrize(("kind", "rate"), [("pictures", 10.0), ("video", 20.0)])
def test_pictures_and_a_video_give_overlays_and_alerts(
    request: pytest.FixtureRequest, model_path: Path, tmp_path: Path, kind: str, rate: float, capsys
) -> None:
    source: Path = request.getfixturevalue(kind)
    for fps, expected in ((None, rate), (5, 5.0)):
        options = ("--threshold", -100, "-p", "trigger_count:=1", "--overlays", tmp_path / "overlays")
        outputs = ("--json", tmp_path / "r.json", "--report", tmp_path / "report")
        assert _replay(source, model_path, *options, *outputs, *(("--fps", fps) if fps else ())) == 0
        printed = capsys.readouterr().out
        assert "unknown: 3 of 3 frames" in printed
        assert "no labels: overlays, latencies and alerts only" in printed
        figures = _figures(tmp_path / "r.json")
        assert (figures["frames"], figures["unlabelled"], figures["left_out"]) == (3, 3, [])
        assert (figures["pixel"], figures["hazards"]["false_alarms"]) == ({}, None)
        page = (tmp_path / "report" / "report.html").read_text()
        assert "Active hazards" in page
        assert "Most unknown pixels" in page
        times = [moment["seconds"] for moment in figures["hazards"]["timeline"]]
        assert times == pytest.approx([0.0, 1 / expected, 2 / expected])
        names = {path.name for path in (tmp_path / "overlays").iterdir()}
        timed = {f"frame_{number:06d}_{number / expected:.2f}s.jpg" for number in range(3)}
        assert ({"0.jpg", "1.jpg", "2.jpg"} if kind == "pictures" else timed) <= names


def test_a_limit_counts_the_frames_of_the_recording(pictures: Path, model_path: Path, tmp_path: Path, capsys) -> None:
    (pictures / "0.png").write_bytes(b"no picture")
    options = ("--threshold", -3, "--limit", 1, "-p", "camera_height:=1.2", "--json", tmp_path / "r")
    assert _replay(pictures, model_path, *options, "--overlays", tmp_path / "overlays") == 0
    captured = capsys.readouterr()
    assert f"left out: {pictures / '0.png'}" in captured.err
    assert "of 1 frames" in captured.out
    assert len(list((tmp_path / "overlays").iterdir())) == 1
    assert _figures(tmp_path / "r")["hazards"]["problems"] == {"camera_info: none has arrived": 1}


def test_a_folder_of_bags_is_one_figure_of_all_and_a_video_is_of_one(model_path: Path, tmp_path: Path, capsys) -> None:
    drives, overlays = tmp_path / "drives", tmp_path / "overlays"
    for seed in (3, 4):
        write_drive(drives / f"drive{seed}", 2, (128, 64), seed)
    (drives / "broken.mcap").write_bytes(b"\x89MCAP0\r\n")
    outputs = ("--json", tmp_path / "all.json", "--overlays", overlays)
    assert _replay(drives, model_path, "--threshold", -3, *outputs) == 0
    figures = _figures(tmp_path / "all.json")
    assert figures["frames"] == 4
    assert len(figures["left_out"]) == 1
    assert {name.split("/")[0] for name in figures["hazards"]["first_alert"]} <= {"drive3", "drive4"}
    assert figures["hazards"]["first_alert"]
    assert capsys.readouterr().out.count("alerts:") == 1
    found = sorted(path.relative_to(overlays) for path in overlays.rglob("*.jpg"))
    assert found[::2] == [Path(f"drive{seed}/frame_000000_0.00s.jpg") for seed in (3, 4)]
    assert _replay(drives, model_path, "--threshold", -3, "--video", tmp_path / "seen.mp4") == 2
    assert "holds 3 recordings; give one of them" in capsys.readouterr().err


def test_frames_that_can_not_be_evaluated_are_left_out_and_named(model_path: Path, tmp_path: Path, capsys) -> None:
    frames = list(RenderedFrames(3, 5, (128, 64), 10.0))
    strange = frames[1].labels.copy()
    strange[0, 0] = 7
    frames[1] = replace(frames[1], labels=strange)
    frames[2] = replace(frames[2], labels=np.full_like(frames[2].labels, 255))
    frames[3] = replace(frames[3], disparity=np.full_like(frames[3].disparity, np.nan))
    with BagWriter(tmp_path / "drive") as writer:
        for frame in frames:
            writer.write(frame)
    assert _replay(tmp_path / "drive", model_path, "--threshold", -3, "--json", tmp_path / "r.json") == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert (result["frames"], result["unlabelled"], result["frames_left_out"]) == (4, 1, 1)
    captured = capsys.readouterr()
    place = f"{tmp_path / 'drive'}: /camera/labels at {frames[1].stamp} ns"
    assert f"left out: {place}: label value 7" in captured.err
    assert "left out: 1 frames, the first:" in captured.out
    # Where all disparities are NaN, the ground plane tells distances.
    assert result["distance_source"] == "measured disparity; of other frames: ground plane of camera_info and mount"


def test_a_truncated_bag_is_evaluated_up_to_its_damage(model_path: Path, tmp_path: Path, capsys) -> None:
    drive = write_drive(tmp_path / "drive", 4, (512, 256))  # several chunks, of which only whole ones are read
    (data,) = drive.glob("*.mcap")
    content = data.read_bytes()
    data.write_bytes(content[: len(content) * 6 // 10])
    assert _replay(drive, model_path, "--threshold", -3, "--json", tmp_path / "r.json") == 0
    assert f"left out: {drive}: truncated or damaged bag" in capsys.readouterr().err
    result = _figures(tmp_path / "r.json")
    read = result["frames"]
    assert 0 < read < 4
    assert result["frames_left_out"] == 4 - read
    data.write_bytes(content)
    assert _replay(drive, model_path, "--threshold", -3, "--limit", read, "--json", tmp_path / "first.json") == 0
    assert result["pixel"] == _figures(tmp_path / "first.json")["pixel"]


def test_a_network_that_yields_nan_is_named_with_the_frame(bag: Path, nan_model: Path, capsys) -> None:
    assert _replay(bag, nan_model, "--threshold", -3) == 2
    error = capsys.readouterr().err
    assert f"{bag}: /camera/image at " in error
    assert "the score of this frame is not finite" in error
