# SPDX-License-Identifier: Apache-2.0
"""Runs on own frames: the recipe, what it refuses and warns of, unknown ids as negatives, another class table."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from own_frames import write_own_frames

from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, SemanticClass
from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import DenseHybrid, LoadedModel, ModelCard, build_network
from densehybrid_ros.training.batches import BatchMaker, CropTask
from densehybrid_ros.training.config_file import config_text, merge_config
from densehybrid_ros.training.crops import CropConfig
from densehybrid_ros.training.distributed import Processes
from densehybrid_ros.training.losses import INLIER, NEITHER, OUTLIER
from densehybrid_ros.training.run_data import check_data, open_sets
from densehybrid_ros.training.run_models import with_classes
from densehybrid_ros.training.run_parts import open_run

CPU = torch.device("cpu")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    write_own_frames(tmp_path, count=2)
    path = tmp_path / "my.yaml"
    path.write_text("sets: {folder: frames}\nlimit: 2\nnegatives: {source: void}\ncrops: {height: 64, width: 64}\n")
    return path


def test_recipe_own_entries_and_overrides_go_over_each_other(mine: Path, tmp_path: Path) -> None:
    config = merge_config(None, "light", mine, ["crops.width=96", "steps=7"], name="mine")
    assert (config.name, config.architecture, config.init, config.stage) == ("mine", "light", "light", "open_set")
    assert config.data.sets == {"folder": str(tmp_path / "frames")}
    assert (config.data.limit, config.steps, config.batch_size) == (2, 7, 8)  # mine, overridden, the recipe's
    assert (config.crops.height, config.crops.width, config.crops.scale) == (64, 96, (0.6, 2.0))
    other = merge_config("light_open_set", None, mine, ["stage=closed_set"])
    assert (other.name, other.stage, other.init) == ("light", "closed_set", "light_closed_set.safetensors")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, None, None), "--config: missing; name a recipe, or give --init MODEL and --data FILE"),
        (("light_opn", None, None), "--config light_opn: no shipped recipe; give a file, or one of "),
        ((None, "lihgt", None), "model 'lihgt': not among the shipped ones"),
        ((None, "light", "none.yaml"), r"none\.yaml: can't be read"),
    ],
)
def test_what_can_not_be_merged_is_one_line(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        merge_config(*arguments)


def test_the_text_of_a_configuration_explains_every_key_and_reads_the_same(mine: Path, tmp_path: Path) -> None:
    config = merge_config(None, "light", mine)
    text = config_text(config)
    lines = text.splitlines()
    for before, line in pairwise(lines):
        assert line.lstrip().startswith("#") or before.lstrip().startswith("#") or before.endswith(":"), line
    (tmp_path / "whole.yaml").write_text(text)
    assert merge_config(tmp_path / "whole.yaml", None, None) == config
    assert yaml.safe_load(text)["negatives"]["count"] == [1, 4]


def test_odd_data_are_warned_of(mine: Path, tmp_path: Path) -> None:
    classes = tmp_path / "frames" / "classes.yaml"
    classes.write_text(
        classes.read_text().replace("ignore:", "  - {id: 5, name: water}\nignore:").replace("true", "false")
    )
    checked = check_data(merge_config(None, "light", mine, ["crops.height=512"]))
    assert checked.faults == []
    never, drivable, crops = checked.warnings
    assert never == "folder: no pixel of the train frames is of class water"
    assert drivable.startswith("folder: no class is drivable")
    assert "crops of 64x512 are larger than frames of 120x80 at scale 2, the rest stays grey" in crops
    assert checked.found[0] == "2 train frames of folder (120x80, 128x64)"


def test_negatives_of_unknown_ids_that_no_pixel_has_are_a_fault(mine: Path, tmp_path: Path) -> None:
    classes = tmp_path / "frames" / "classes.yaml"
    classes.write_text(classes.read_text().replace("unknown: [9]", "unknown: [8]").replace("[0, 255]", "[0, 9, 255]"))
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
    for table in (classes, same_count):
        state, before = with_classes(loaded, table).state_dict(), old.state_dict()
        names = [item.name for item in CITYSCAPES_CLASSES]
        for part in ("weight", "bias"):
            rows, known = state[f"network.classifier.conv.{part}"], before[f"network.classifier.conv.{part}"]
            assert len(rows) == len(table)
            for row, item in zip(rows, table, strict=True):
                if item.name in names:
                    assert torch.equal(row, known[names.index(item.name)])
                else:
                    assert not any(torch.equal(row, other) and row.any() for other in known)
        kept = [key for key in before if "classifier.conv" not in key]
        assert all(torch.equal(state[key], before[key]) for key in kept)


def test_own_classes_beside_frames_of_cityscapes_are_refused(mine: Path) -> None:
    config = merge_config(None, "light", mine, ["data.cityscapes_640=DIR"])
    with pytest.raises(InputError, match=r"has 19 classes, not 3 as folder does; train on one of them"):
        open_run(config, CPU, Processes())
