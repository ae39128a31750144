# SPDX-License-Identifier: Apache-2.0
"""Wrong usage and bad input: one line that names it, exit status 2, and nothing is left behind."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from lost_and_found_layout import write_lost_and_found
from rendered_bag import write_drive
from small_frames import write_small_frames

from densehybrid_ros.cli.main import main
from densehybrid_ros.datasets.rendered_road import render_drive

SIZES = "sizes are WIDTHxHEIGHT; did you mean 1024x512?"
REPLAY = "replay drive --device cpu --model tiny.safetensors"
TUNE = "tune drive --output out --limit 1 --device cpu -p anomaly_threshold:=-113.25"
PREDICT = "predict frames --device cpu --threshold 0 --model tiny.safetensors --output"
EVALUATE = "evaluate --dataset folder --root set --device cpu --model tiny.safetensors"
MAPS = "evaluate --dataset folder --root set --score-maps none"
CALIBRATE = "calibrate --dataset folder --root set --device cpu --model tiny.safetensors"
LAF = "bag --dataset lost_and_found"
PASTE = "paste --dataset cityscapes_640 --root city --output out --cutouts"
TRAIN = "train --config run.yaml --device cpu --output x.safetensors"
CITY = "data.cityscapes_640=city"
RUN = {"name": "light", "architecture": "light", "steps": 3, "batch_size": 2, "warmup_steps": 1, "terms": "none"}
IMPORT = "import --format torchvision_densenet121 none.pth --terms none --output"
CASES = [
    ("", "--help"),
    ("nonsense", "--help"),
    ("info --nonsense", "--help"),
    ("predict", "--help"),
    ("info --add-digest", "--add-digest: needs --check"),
    # What can't be written is refused before any work.
    ("replay bag --json set", "set is a folder; name a file"),
    ("evaluate --dataset folder --root x --report file", "file is a file; name a folder"),
    ("train --config x --output file/a.safetensors", "file is a file, no folder"),
    ("demo --output file", "file is a file; name a folder"),
    # Parameters of the node, and what is evaluated
    (REPLAY, "no default threshold in its card; run densehybrid calibrate --default on it, or give a threshold (named"),
    (f"{REPLAY} --threshold nan", "'nan' is no threshold"),
    (f"{REPLAY} --threshold -3 --bins 9,3", "--bins 9,3"),
    (f"{REPLAY} -p trigger_cuont:=1", "no parameter 'trigger_cuont'; did you mean 'trigger_count'?"),
    (f"{REPLAY} -p trigger_window:=1", "parameter trigger_window 1 is below trigger_count 3"),
    (f"{REPLAY} -p model:=nobody --model nothing", "model 'nothing'"),
    (f"{REPLAY} -p threshold_name:=u", "'u'"),
    (f"{REPLAY} --params-file no.yaml", "--params-file no.yaml: can't be read (No such file or directory)"),
    (f"{REPLAY} --speeds fast", "--speeds fast: write speeds in km/h"),
    (f"{REPLAY} --threshold -3 -p drivable_classes:=[raod]", "has no class 'raod'; it has: road, "),
    (f"{REPLAY} --deceleration 0", "--deceleration above 0"),
    (f"{REPLAY} --threshold -3 --topics image=/nowhere", "no topic /nowhere"),
    (f"{REPLAY} --video seen.avi", "the name of a video ends in .mp4 or .webm"),
    (f"{TUNE} --clean", "has labelled obstacles; leave --clean out"),
    (f"{TUNE} --thresholds nothing", "no threshold 'nothing' in its card; it has: "),
    (f"{TUNE} --trigger-counts 9", "--trigger-counts 9: above trigger_window 5; raise that with -p"),
    (f"{TUNE} --topics image=/nowhere", "no topic /nowhere"),
    (f"{TUNE} -p ego_mask:=nowhere.png", "parameter ego_mask: nowhere.png"),
    (f"{TUNE} --fps 5", "has stamps of its own; leave --fps out"),
    ("tune drives --output out", "a folder of 2 bags; tune takes one of them, such as one"),
    ("tune drive --output file/page", "--output"),
    (f"{PREDICT} mine", "holds files that are not of predict; name a new folder"),
    (f"{PREDICT} file", "is a file; name a folder"),
    (f"{PREDICT} out -p trigger_cuont:=1", "did you mean 'trigger_count'?"),
    (f"{PREDICT} out --model nobody", "model 'nobody'"),
    ("predict nowhere --output out", "nowhere: no such file or folder"),
    ("predict empty --output out", "an empty folder; give a bag, a picture, a folder of pictures or a video"),
    ("predict noise.mp4 --output out", "not a video that OpenCV can decode"),
    ("predict noise.png --output out", "noise.png: truncated or not a picture"),
    ("predict small.png --output out --fps 5", "frames of 1x1 pixels are too small for a video"),
    # Data sets
    (f"{EVALUATE} --scores magic", "--scores magic: unknown"),
    (f"{EVALUATE} --scores ,", "--scores ,: names none"),
    (f"{EVALUATE} --scores hybrid,gdm", "--scores gdm: needs training frames; give --fit-dataset and --fit-root"),
    (
        f"{EVALUATE} --scores sml --fit-dataset folder --fit-root set",
        "no semantic labels; fit scores on a data set that has classes",
    ),
    (f"{EVALUATE} --bins 9,3", "--bins 9,3: write rising distances in metres"),
    (f"{EVALUATE} --bins 5", "--bins 5"),
    (f"{EVALUATE} --bins 5,5", "--bins 5,5"),
    (f"{EVALUATE} --threshold best", "no threshold 'best' in its card"),
    (f"{EVALUATE} --device toaster", "device 'toaster'"),
    (f"{EVALUATE} --precision fp16", "precision fp16: CPUs have no fp16 convolutions"),
    (f"{EVALUATE} --input-policy crop", "input_policy 'crop': unknown"),
    (f"{EVALUATE} --input-policy exact --size 64x32", "--size: --input-policy exact leaves images their size"),
    (f"{EVALUATE} --hazards --scores posterior", "--hazards: is for the hybrid score; add it to --scores"),
    (f"{EVALUATE} --ego-mask own.png", "--ego-mask: is for --hazards; add it"),
    (f"{EVALUATE} --hazards --ego-mask own.png", "--ego-mask own.png: "),
    (MAPS, "holds no score maps"),
    (f"{MAPS} --model light", "--model: --score-maps loads no model"),
    (f"{MAPS} --scores hybrid", "--scores: --score-maps loads no model"),
    (f"{MAPS} --card", "--card: --score-maps loads no model"),
    (f"{MAPS} --threshold default", "--threshold default: score maps have no model card; give numbers"),
    (f"{CALIBRATE} --ego-mask own.png", "--ego-mask: is for --false-hazards-per-minute"),
    (f"{CALIBRATE} --by probability --default", "--default: chooses a threshold, and --by probability finds none"),
    (f"{CALIBRATE} --by inlier_q95,outlier_tpr95 --default", "--default: name one of inlier_q95, outlier_tpr95"),
    (f"{CALIBRATE} --default probability", "--default probability: name one of inlier_q95"),
    (f"{CALIBRATE} --false-hazards-per-minute -1", "'-1' is not a number of at least 0"),
    # Frames into bags and sets
    ("bag a", "--help"),
    ("bag a b --fps 0", "--fps"),
    ("bag a b --frames none", "--frames"),
    ("bag a b --size 64", "--size"),
    ("bag a b --storage zip", "--storage"),
    (f"{LAF} laf out --scene 03_Three", "no scene 03_Three in its test split; it has: 01_One"),
    (f"{LAF} laf out --split train", "leftImg8bit/train: no such folder"),
    (f"{LAF} nowhere out", "leftImg8bit/test: no such folder"),
    (f"{LAF} laf out --labels laf", "--labels: does not apply to a data set"),
    (f"{LAF} laf file", "exists and is no folder for bags"),
    ("bag nowhere out", "nowhere: no such file or folder"),
    ("bag frames out --labels nowhere", "nowhere: no such folder"),
    ("bag frames out --camera nowhere.json", "nowhere.json: cannot be read"),
    ("bag frames out --topics picture=/a", "--topics 'picture=/a'"),
    ("bag frames frames", "exists and is not a bag"),
    ("bag frames out --scene 01_One", "--scene: does not apply to a source without --dataset"),
    ("bag rendered out --labels frames", "--labels: does not apply to the rendered road"),
    ("bag noise.mp4 out --disparity frames", "--disparity: does not apply to a video"),
    (f"{PASTE} nowhere", "nowhere"),
    (f"{PASTE} city/train/image", "no cut-out; it needs an alpha channel"),
    (f"{PASTE} city/negatives --shadows 2", "'2' is not a share of 0 to 1"),
    (f"{PASTE} city/negatives --root elsewhere", "no such folder"),
    (f"{PASTE} city/negatives --dataset kitti", "invalid choice: 'kitti'"),
    # Training
    (TRAIN, "data: no frames to train on"),
    (f"{TRAIN} data.sets.nowhere=city", "data.sets.nowhere: unknown"),
    (f"{TRAIN} {CITY} stage=open_set", "negatives.root"),
    (f"{TRAIN} {CITY} stage=open_set negatives.source=dataset negatives.root=city", "negatives.dataset"),
    (f"{TRAIN} {CITY} stage=flow", "architecture 'light': no flow"),
    (f"{TRAIN} {CITY} stage=flow architecture=dense_flow_tiny init=none", "no such file"),
    (f"{TRAIN} {CITY} architecture=ldn121 init=imagenet", "no ImageNet weights"),
    (f"{TRAIN} {CITY} batch_size=1", "batch_size=1: batch norm needs two crops at least; set batch_size=2"),
    (f"{TRAIN} {CITY} batch_size=64 crops.height=4096 crops.width=4096", "64 crops of 4096x4096 at a time: need"),
    # The demonstration, which needs ROS
    ("demo --output mine --model tiny.safetensors", "mine: exists and was not made by the demo"),
    ("demo --output out --model nothing", "model 'nothing'"),
    ("demo --output out --threshold 0 --frames nowhere", "nowhere: no such file or folder"),
    ("demo --output out --threshold 0 --backend magic", "parameter backend: 'magic'"),
    # Models
    (f"{IMPORT} model.pth", "--output model.pth: the name must end in .safetensors"),
    (f"{IMPORT} model.safetensors", "none.pth: can't be read (No such file or directory)"),
    ("compile --device cpu --model tiny.safetensors --precision fp16", "use bf16 or fp32"),
    ("compile --device cpu --model tiny.safetensors --backend tensorrt", "it needs an NVIDIA GPU"),
    ("compile --model tiny.safetensors --device cuda:99", "cuda:99"),
    ("compile --size 512x1024", f"--size: 512x1024: {SIZES}"),
    ("benchmark engine --size 512x1024", f"--size: 512x1024: {SIZES}"),
    ("export --output a.onnx --opset 11", "--opset 11: is 18 at least"),
    ("export --output a.onnx --size 64x32 --dynamic", "not allowed with"),
]


@pytest.fixture(scope="module")
def place(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what commands read."""
    place = tmp_path_factory.mktemp("place")
    for ending in (".safetensors", ".yaml"):
        shutil.copy(model_path.with_suffix(ending), place)
    write_drive(place / "drive", 1)
    write_lost_and_found(list(render_drive(2, 1, 128, 64)), place / "laf", "01_One")
    (place / "city").mkdir()
    write_small_frames(place / "city")
    rng = np.random.default_rng(1)
    for folder in ("frames", "set/image", "set/label", "empty", "mine", "drives/one", "drives/two"):
        (place / folder).mkdir(parents=True)
    for folder, depth in (("frames", 3), ("set/image", 3), ("set/label", 1)):
        cv2.imwrite(str(place / folder / "0.png"), rng.integers(0, 2, (24, 48, depth), dtype=np.uint8))
    (place / "run.yaml").write_text(json.dumps(RUN | {"crops": {"height": 64, "width": 64}, "data": {"workers": 1}}))
    cv2.imwrite(str(place / "small.png"), np.zeros((1, 1, 3), np.uint8))
    for name in ("file", "mine/notes.txt", "drives/one/metadata.yaml", "drives/two/metadata.yaml"):
        (place / name).touch()
    for name in ("noise.mp4", "noise.png"):
        (place / name).write_bytes(bytes(range(256)) * 20)
    return place


@pytest.mark.parametrize(("command", "message"), CASES)
def test_it_is_one_line_and_nothing_is_left(
    command: str, message: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    if command.startswith("demo --output") and not command.endswith("file"):
        pytest.importorskip("rclpy")
    monkeypatch.chdir(place)
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    try:
        status = main(command.split())
    except SystemExit as leave:
        status = leave.code
    assert status == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = [line for line in printed.err.splitlines() if not re.search(r": \d+ \w+ in [\d.]+ s$", line)]
    assert line.startswith("densehybrid")
    assert message in line
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()} == before
    assert not (place / "out").exists()
