"""``densehybrid replay`` on a short rendered drive."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from densehybrid_ros.bags.reader import BagFrames
from densehybrid_ros.bags.sources import RenderedFrames
from densehybrid_ros.bags.topics import BagTopics
from densehybrid_ros.bags.writer import BagWriter
from densehybrid_ros.cli.main import main
from densehybrid_ros.networks import DenseHybrid, ModelCard, build_network, load_model, save_model, upsample
from densehybrid_ros.perception.images import rgb_from_image
from densehybrid_ros.scores import hybrid

FRAMES = 4


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(path, DenseHybrid(build_network("light", 19)), ModelCard("tiny", "light", thresholds={"t": -3.0}))
    return path


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bag") / "drive"
    with BagWriter(path) as writer:
        for frame in RenderedFrames(3, FRAMES, (256, 128), 10.0):
            writer.write(frame)
    return path


def _replay(bag: Path, model: Path, *options: object) -> int:
    return main([str(word) for word in ("replay", bag, "--model", model, "--device", "cpu", *options)])


def _figures(path: Path) -> dict:
    content = json.loads(path.read_text())
    for key in ("seconds", "latency_ms"):
        del content[key]
    return content


def test_same_bag_same_figures(bag: Path, model_path: Path, tmp_path: Path, capsys) -> None:
    for name in ("one", "two"):
        assert _replay(bag, model_path, "--threshold", -3, "--json", tmp_path / f"{name}.json") == 0
    assert _figures(tmp_path / "one.json") == _figures(tmp_path / "two.json")
    assert "distances: measured disparity" in capsys.readouterr().out


def test_figures_are_those_of_the_frames(bag: Path, model_path: Path, tmp_path: Path) -> None:
    network, scores, labels, seen = load_model(model_path).network, [], [], 0
    for frame in BagFrames(bag, rgb_from_image):
        image = torch.from_numpy(frame.image.copy()).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            output = network(image)
            score = hybrid(upsample(output.logits, (128, 256)), upsample(output.posterior, (128, 256)))[0].numpy()
        scores.append(score[frame.labels < 2])
        labels.append(frame.labels[frame.labels < 2])
        ids, sizes = torch.from_numpy(frame.instances[frame.labels == 1].astype(int)).unique(return_counts=True)
        seen += int(((ids > 0) & (sizes >= 50)).sum())
    assert _replay(bag, model_path, "--threshold", -3, "--json", tmp_path / "r.json") == 0
    result = json.loads((tmp_path / "r.json").read_text())
    expected = roc_auc_score(torch.cat([torch.from_numpy(x) for x in labels]).numpy(),
                             torch.cat([torch.from_numpy(x) for x in scores]).numpy())  # fmt: skip
    assert result["pixel"]["hybrid"]["auroc"] == pytest.approx(expected, abs=1e-3)
    assert result["obstacles"]["seen"] == seen > 0
    assert result["frames"] == FRAMES


def test_report_and_overlays(bag: Path, model_path: Path, tmp_path: Path) -> None:
    options = ("--threshold", -3, "--report", tmp_path / "report", "--overlays", tmp_path / "overlays", "--limit", 2)
    assert _replay(bag, model_path, *options) == 0
    assert "detected for good: #" in (tmp_path / "report" / "report.html").read_text()
    assert [path.name for path in sorted((tmp_path / "overlays").iterdir())] == ["000000.jpg", "000001.jpg"]


def _rewrite(bag: Path, target: Path, **missing: None) -> Path:
    with BagWriter(target) as writer:
        for frame in BagFrames(bag, rgb_from_image):
            writer.write(replace(frame, **missing))
    return target


def test_without_disparity_the_ground_plane_is_used_and_said(
    bag: Path, model_path: Path, tmp_path: Path, capsys
) -> None:
    plain = _rewrite(bag, tmp_path / "plain", disparity=None)
    assert _replay(plain, model_path, "--threshold", -3, "--json", tmp_path / "r.json") == 0
    assert "distances: ground plane of camera_info and mounting height" in capsys.readouterr().out
    assert any(item["positives"] for item in json.loads((tmp_path / "r.json").read_text())["distances"]["hybrid"])


def test_without_labels_there_are_alerts_and_latencies(bag: Path, model_path: Path, tmp_path: Path, capsys) -> None:
    bare = _rewrite(bag, tmp_path / "bare", labels=None, instances=None, semantic=None)
    options = ("--threshold", -100, "--json", tmp_path / "r.json", "--report", tmp_path / "report")
    assert _replay(bare, model_path, *options, "--hazards", "trigger_count=1,trigger_window=1") == 0
    printed = capsys.readouterr().out
    assert "the bag holds no labels" in printed
    assert f"unknown: {FRAMES} of {FRAMES} frames" in printed
    figures = json.loads((tmp_path / "r.json").read_text())
    assert figures["pixel"] == {}
    assert figures["hazards"]["false_alarms"] is None
    assert len(figures["hazards"]["timeline"]) == FRAMES
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Active hazards" in page
    assert "Most unknown pixels" in page


def test_alerts_are_judged_by_obstacle_and_speed(bag: Path, model_path: Path, tmp_path: Path, capsys) -> None:
    options = ("--threshold", -100, "--hazards", "trigger_count=1,trigger_window=1", "--speeds", "50,30")
    assert _replay(bag, model_path, *options, "--json", tmp_path / "r.json") == 0
    figures = json.loads((tmp_path / "r.json").read_text())["hazards"]
    assert figures["kilometres"] == pytest.approx(figures["minutes"] * 60 * 0.011, rel=0.3)  # the bag tells the speed
    assert [row["speed"] for row in figures["speeds"]] == [30.0, 50.0]
    assert figures["speeds"][0]["stopping_distance"] == pytest.approx(30 / 3.6 + (30 / 3.6) ** 2 / 12)
    assert "alerted in time" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--threshold", -3, "--bins", "9,3"), "--bins 9,3"),
        (("--hazards", "trigger_cuont=1"), "--hazards 'trigger_cuont=1': write KEY=VALUE with KEY one of"),
        (("--hazards", "trigger_count=x"), "--hazards 'trigger_count=x': 'x' is no int"),
        (("--hazards", "trigger_window=1"), "--hazards: trigger_window 1 is below trigger_count 3"),
        (("--speeds", "fast"), "--speeds fast: write speeds in km/h"),
        (("--threshold", -3, "--hazards", "drivable_classes=nope"), "drivable_classes: "),
        (("--threshold", -3, "--limit", 1, "--through", "node"), "--limit: the whole bag is played to a node"),
        (("--deceleration", "0"), "--deceleration above 0"),
        (("--ego-speed", "-1"), "--ego-speed -1: give metres a second"),
        (("--threshold", -3, "--topics", "image=/nowhere"), "no topic /nowhere"),
        ((), "no default threshold in its card; run densehybrid calibrate --default on it, or give a threshold (named"),
    ],
)
def test_wrong_usage_is_one_line(bag: Path, model_path: Path, options: tuple, message: str, capsys) -> None:
    assert _replay(bag, model_path, *options) == 2
    assert message in capsys.readouterr().err


@pytest.mark.ros
def test_through_the_node_the_figures_agree(bag: Path, model_path: Path, tmp_path: Path) -> None:
    pytest.importorskip("rclpy")
    for way in ("model", "node"):
        options = ("--threshold", -3, "--through", way, "--json", tmp_path / f"{way}.json")
        assert _replay(bag, model_path, *options) == 0
    direct, over_dds = _figures(tmp_path / "model.json"), _figures(tmp_path / "node.json")
    assert over_dds["frames"] == direct["frames"] == FRAMES
    for figure in ("average_precision", "fpr95", "auroc"):
        assert over_dds["pixel"]["hybrid"][figure] == pytest.approx(direct["pixel"]["hybrid"][figure], abs=1e-3)
    assert over_dds["obstacles"]["seen"] == direct["obstacles"]["seen"]


@pytest.mark.ros
def test_through_the_node_with_compressed_pictures_of_another_name(model_path: Path, tmp_path: Path) -> None:
    pytest.importorskip("rclpy")
    path, names = tmp_path / "left", BagTopics(image="/left/image_rect", labels="/left/labels")
    with BagWriter(path, topics=names, compression="png") as writer:
        for frame in RenderedFrames(3, 3, (128, 64), 10.0):
            writer.write(frame)
    for way in ("model", "node"):
        options = ("--threshold", -3, "--through", way, "--json", tmp_path / f"{way}.json")
        assert _replay(path, model_path, *options, "--topics", "image=/left/image_rect,labels=/left/labels") == 0
    direct, over_dds = _figures(tmp_path / "model.json"), _figures(tmp_path / "node.json")
    assert over_dds["frames"] == direct["frames"] == 3
    for figure in ("average_precision", "fpr95", "auroc"):
        assert over_dds["pixel"]["hybrid"][figure] == pytest.approx(direct["pixel"]["hybrid"][figure], abs=1e-3)


def _drive(path: Path, seed: int, frames: int = 2) -> Path:
    with BagWriter(path) as writer:
        for frame in RenderedFrames(seed, frames, (128, 64), 10.0):
            writer.write(frame)
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_folder_of_bags_in_two_processes_gives_the_figures_of_one(model_path: Path, tmp_path: Path) -> None:
    drives = tmp_path / "drives"
    for seed in (3, 4, 5):
        _drive(drives / f"drive{seed}", seed)
    (drives / "broken.mcap").write_bytes(b"\x89MCAP0\r\n")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in each of the two: convolutions add up in another order with more
    try:
        assert _replay(drives, model_path, "--threshold", -3, "--json", tmp_path / "one.json") == 0
    finally:
        torch.set_num_threads(threads)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(_free_port()), "-m", "densehybrid_ros", "replay"]
    options = (drives, "--model", model_path, "--device", "cpu", "--threshold", -3, "--json", tmp_path / "two.json")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *map(str, options)], check=True, timeout=240, env=environment, capture_output=True, text=True
    )
    one = _figures(tmp_path / "one.json")
    assert _figures(tmp_path / "two.json") == one
    assert one["frames"] == 6
    assert len(one["left_out"]) == 1
    assert any(name.startswith("drive4/") for name in one["obstacles"]["lasting"])
    assert done.stdout.count("alerts:") == 1


def test_overlays_of_a_folder_have_a_folder_for_each_bag(model_path: Path, tmp_path: Path, capsys) -> None:
    for seed in (3, 4):
        _drive(tmp_path / "drives" / f"drive{seed}", seed, 1)
    options = ("--threshold", -3, "--overlays", tmp_path / "overlays")
    assert _replay(tmp_path / "drives", model_path, *options) == 0
    found = sorted(path.relative_to(tmp_path / "overlays") for path in (tmp_path / "overlays").rglob("*.jpg"))
    assert found == [Path("drive3/000000.jpg"), Path("drive4/000000.jpg")]


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
    # Where disparity is NaN there is no distance; the pixels count all the same.
    assert result["without_distance"] >= int((frames[3].labels <= 1).sum())


def test_a_truncated_bag_is_evaluated_up_to_its_damage(model_path: Path, tmp_path: Path, capsys) -> None:
    drive = tmp_path / "drive"
    with BagWriter(drive) as writer:  # large enough for several chunks, of which only whole ones are read
        for frame in RenderedFrames(3, 4, (512, 256), 10.0):
            writer.write(frame)
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


def test_a_network_that_yields_nan_is_named_with_the_frame(bag: Path, tmp_path: Path, capsys) -> None:
    network = DenseHybrid(build_network("light", 19))
    with torch.no_grad():
        for weights in network.posterior_head.parameters():
            weights.fill_(3e38)  # finite, as a file of weights is, until they are multiplied
    save_model(tmp_path / "nan.safetensors", network, ModelCard("nan", "light", thresholds={"t": -3.0}), half=False)
    assert _replay(bag, tmp_path / "nan.safetensors", "--threshold", -3) == 2
    error = capsys.readouterr().err
    assert f"{bag}: /camera/image at " in error
    assert "the network's output is not finite" in error


def test_a_bag_of_which_the_head_alone_is_left_is_called_damaged(
    bag: Path, model_path: Path, tmp_path: Path, capsys
) -> None:
    left = tmp_path / "left"
    shutil.copytree(bag, left)
    (file,) = left.glob("*.mcap")
    file.write_bytes(file.read_bytes()[:400])
    assert _replay(left, model_path, "--threshold", -3) == 2
    error = capsys.readouterr().err
    assert (
        f"{left}: truncated or damaged bag (it holds no message); record it again, or try `ros2 bag reindex`" in error
    )
