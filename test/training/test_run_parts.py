# SPDX-License-Identifier: Apache-2.0
"""A run put together: own frames, unknown ids as negatives, another class table, and what a network must have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from own_frames import write_own_frames
from plain_network import PlainNetwork
from small_frames import write_small_frames
from tiny import CPU, settings

from densehybrid_ros import DenseHybrid, register_network
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, SemanticClass
from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import LoadedModel, ModelCard, build_network, registry
from densehybrid_ros.training.batches import BatchMaker, CropTask
from densehybrid_ros.training.config import merge_config
from densehybrid_ros.training.crops import CropConfig
from densehybrid_ros.training.distributed import Processes
from densehybrid_ros.training.losses import INLIER, NEITHER, OUTLIER
from densehybrid_ros.training.run_parts import check_data, initial_model, open_run, open_sets, with_classes


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    write_own_frames(tmp_path, count=2)
    path = tmp_path / "my.yaml"
    path.write_text("sets: {folder: frames}\nnegatives: {source: void}\ncrops: {height: 64, width: 64}\n")
    return path


def test_odd_data_are_warned_of(mine: Path, tmp_path: Path) -> None:
    classes = tmp_path / "frames" / "classes.yaml"
    text = classes.read_text()
    classes.write_text(text.replace("ignore:", "  - {id: 5, name: water}\nignore:").replace("true", "false"))
    checked = check_data(merge_config(None, "light", mine, ["crops.height=512"]))
    assert checked.faults == []
    never, drivable, crops = checked.warnings
    assert never == "folder: no pixel of the train frames is of class water"
    assert drivable.startswith("folder: no class is drivable")
    assert "crops of 64x512 are larger than frames of 120x80 at scale 2, the rest stays grey" in crops
    assert checked.found[0] == "2 train frames of folder (120x80, 128x64)"
    classes.write_text(text.replace("unknown: [9]", "unknown: [8]").replace("[0, 255]", "[0, 9, 255]"))
    (fault,) = check_data(merge_config(None, "light", mine)).faults
    assert fault.startswith("negatives.source=void: no pixel is of an unknown id")


def test_unknown_ids_are_negatives_and_ignored_ones_are_not(mine: Path) -> None:
    (frames,) = open_sets(merge_config(None, "light", mine), "train")
    crops = CropConfig(height=64, width=128, scale=(1.0, 1.0), noise=0, color_jitter=0, blur_probability=0)
    for unknown, outlier in ((True, OUTLIER), (False, NEITHER)):
        maker = BatchMaker(1, crops, [(frames.subset(1), 1.0)], CPU, with_unknown=unknown)
        batch = maker.batch(CropTask(0, 0, 2))
        red = batch.images[:, 0] > 0.8  # own_frames paints the unknown red
        assert red.any()
        assert (batch.origin[red & (batch.images[:, 2] < 0.3)] == outlier).all()
        black = batch.images.amax(1) < 0.05
        assert (batch.origin[black] == NEITHER).float().mean() > 0.95
        assert set(batch.labels.unique().tolist()) <= {0, 1, 2, 255}
        assert (batch.origin[batch.labels < 3] == INLIER).all()


@pytest.mark.parametrize("architecture", ["light", "ldn121"])
def test_rows_of_the_classifier_go_along_by_name(architecture: str) -> None:
    torch.manual_seed(0)
    old = DenseHybrid(build_network(architecture, 19))
    classes = (SemanticClass("track", (0, 0, 0)), SemanticClass("car", (1, 1, 1)), SemanticClass("road", (2, 2, 2)))
    same_count = (*(SemanticClass(f"other {n}", (n, n, n)) for n in range(18)), CITYSCAPES_CLASSES[0])
    loaded = LoadedModel(old, ModelCard("old", architecture), Path("old.safetensors"))
    names = [item.name for item in CITYSCAPES_CLASSES]
    for table in (classes, same_count):
        state, before = with_classes(loaded, table).state_dict(), old.state_dict()
        for part in ("weight", "bias"):
            rows, known = state[f"network.classifier.conv.{part}"], before[f"network.classifier.conv.{part}"]
            assert len(rows) == len(table)
            for row, item in zip(rows, table, strict=True):
                if item.name in names:
                    assert torch.equal(row, known[names.index(item.name)])
                else:
                    assert not any(torch.equal(row, other) and row.any() for other in known)
        assert all(torch.equal(state[key], before[key]) for key in before if "classifier.conv" not in key)


def test_own_classes_beside_frames_of_cityscapes_are_refused(mine: Path, tmp_path: Path) -> None:
    config = merge_config(None, "light", mine, [f"data.cityscapes_640={write_small_frames(tmp_path / 'city')}"])
    with pytest.raises(InputError, match=r"has 19 classes, not 3 as folder does; train on one of them"):
        open_run(config, CPU, Processes())


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Architectures: ``plain``, a module with an encoder, and ``bare``, one that names none."""
    monkeypatch.setattr(registry, "_registered", {})
    register_network("plain", lambda k: DenseHybrid(PlainNetwork(k), classifier="head.1", encoder="backbone"))
    register_network("bare", lambda k: DenseHybrid(PlainNetwork(k), classifier="head.1"))


@pytest.mark.usefixtures("plain")
def test_a_registered_network_starts_a_run() -> None:
    model, card = initial_model(settings(architecture="plain", encoder_rate_factor=0.1), CITYSCAPES_CLASSES)
    assert (model.num_classes, card.architecture) == (19, "plain")


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "other"}, "architecture 'other': not installed; no package has the entry point other"),
        ({"architecture": "bare", "encoder_rate_factor": 0.1}, "encoder_rate_factor=0.1: bare names no encoder; set 1"),
        ({"init": "imagenet"}, "init=imagenet: no ImageNet weights come with plain; use init=imagenet:FILE or random"),
        ({"architecture": "bare", "init": "imagenet:w.pth"}, "w.pth: AdaptedNetwork takes no ImageNet weights"),
        ({"init": "imagenet:w.pth"}, "w.pth: can't be read"),
    ],
)
def test_what_a_network_lacks_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}") as refused:
        initial_model(settings(**{"architecture": "plain", **changes}), CITYSCAPES_CLASSES)
    assert "\n" not in str(refused.value)
