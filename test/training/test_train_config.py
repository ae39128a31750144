# SPDX-License-Identifier: Apache-2.0
"""A run's YAML: shipped recipes, what goes over what, the text that explains every key, and mistakes in one line."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from densehybrid_ros import research
from densehybrid_ros.datasets.negative_sets import RECIPES
from densehybrid_ros.datasets.registry import NEGATIVE_SETS, TRAINING_SETS
from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import architecture_names
from densehybrid_ros.networks.dense_flow import FLOWS
from densehybrid_ros.training.config import (
    FINE_TUNE,
    TrainConfig,
    build_config,
    config_text,
    merge_config,
    read_config,
    to_mapping,
)

REPOSITORY = Path(__file__).resolve().parents[2]
MINIMAL = "name: a\narchitecture: light\n"
MINE = "sets: {folder: frames}\nlimit: 2\nnegatives: {source: void}\ncrops: {height: 64, width: 64}\n"


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(MINIMAL)
    return path


@pytest.mark.parametrize("path", sorted((REPOSITORY / "config" / "train").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_is_valid(path: Path) -> None:
    research.register()
    config = read_config(path)
    if path.stem != FINE_TUNE:  # whose model and data are the user's
        assert path.stem.startswith(config.name)
        assert config.terms
    assert config.architecture in (FLOWS if config.stage == "flow" else architecture_names())
    assert not set(config.data.sets) - set(TRAINING_SETS)
    if config.negatives.source == "dataset":
        assert config.negatives.dataset in NEGATIVE_SETS
        assert config.negatives.recipe in RECIPES


def test_overrides_reach_sections_and_keep_their_types(minimal: Path) -> None:
    minimal.write_text(MINIMAL + "crops: {height: 64}\n")
    words = ["steps=7", "crops.scale=[1, 1]", "learning_rate=1e-4", "negatives.root=/data/x", "negatives.count=[0,0]"]
    config = read_config(minimal, [*words, "loss.likelihood_floor=-5", "data.sets.cityscapes=/data/city"])
    assert (config.steps, config.crops.height, config.crops.width) == (7, 64, 512)
    assert (config.crops.scale, config.learning_rate, config.negatives.root) == ((1.0, 1.0), 1e-4, "/data/x")
    assert (config.negatives.count, config.loss.likelihood_floor) == ((0, 0), -5.0)
    assert config.data.sets == {"cityscapes": "/data/city"}
    assert build_config(yaml.safe_load(yaml.safe_dump(to_mapping(config)))) == config


def test_a_file_extends_others_relative_to_itself(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.yaml").write_text(MINIMAL + "crops: {height: 64, width: 32}\nseed: 4\n")
    (tmp_path / "b.yaml").write_text("extends: below/a.yaml\ncrops: {width: 96}\nsteps: 5\n")
    (tmp_path / "c.yaml").write_text("extends: b.yaml\nsteps: 6\n")
    config = read_config(tmp_path / "c.yaml", ["seed=7"])
    assert (config.name, config.crops.height, config.crops.width, config.steps, config.seed) == ("a", 64, 96, 6, 7)


def test_recipe_own_entries_and_overrides_go_over_each_other(tmp_path: Path) -> None:
    mine = tmp_path / "my.yaml"
    mine.write_text(MINE)
    config = merge_config(None, "light", mine, ["crops.width=96", "steps=7"], name="mine")
    assert (config.name, config.architecture, config.init, config.stage) == ("mine", "light", "light", "open_set")
    assert config.data.sets == {"folder": str(tmp_path / "frames")}
    assert (config.data.limit, config.steps, config.batch_size) == (2, 7, 8)  # mine, overridden, the recipe's
    assert (config.crops.height, config.crops.width, config.crops.scale) == (64, 96, (0.6, 2.0))
    other = merge_config("light_open_set", None, mine, ["stage=closed_set"])
    assert (other.name, other.stage, other.init) == ("light", "closed_set", "light_closed_set.safetensors")

    text = config_text(config)
    for before, line in pairwise(text.splitlines()):
        assert line.lstrip().startswith("#") or before.lstrip().startswith("#") or before.endswith(":"), line
    (tmp_path / "whole.yaml").write_text(text)
    assert merge_config(tmp_path / "whole.yaml", None, None) == config


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "must be a mapping"),
        ("a: [", "not valid YAML"),
        ("name: a\n", "the key architecture is missing"),
        ("extends: run.yaml\n" + MINIMAL, r"extends=run\.yaml: leads back to a file that extends this one"),
        ("extends: other.yaml\n" + MINIMAL, r"other\.yaml: extends=run\.yaml: leads back to a file that extends"),
        ("extends: none.yaml\n" + MINIMAL, r"none\.yaml: can't be read \(No such file"),
        ("extends: [a, b]\n" + MINIMAL, "must be the name of a file"),
    ],
)
def test_files_at_fault_are_named_in_one_line(minimal: Path, text: str, message: str) -> None:
    minimal.with_name("other.yaml").write_text("extends: run.yaml\n")
    minimal.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_config(minimal)
    assert "\n" not in str(caught.value)


JOINT = ["stage=open_set", "negatives.source=flow"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ([*JOINT, "cuda_graph=true"], "not with a flow that learns along"),
        ([*JOINT, "crops.height=8"], "must be 16 pixels high and wide"),
        ("stepz=3", "unknown key stepz"),
        ("crops.hight=3", "crops.unknown key hight"),
        ("steps=2.5", "steps=2.5: must be of type int"),
        ("steps=0", "steps=0: must be at least 1"),
        ("crops.scale=1", "scale=1: must be a list of 2"),
        ("cuda_graph=1", "must be of type bool"),
        ("steps", "has the form key=value"),
        ("name.x=3", "name is not a section"),
        ("crops=3", "crops must be a section"),
        ("data.sets=3", "sets=3: must be a mapping"),
        ("data.sets.cityscapes=3", "sets.cityscapes=3: must be of type str"),
        ("negatives.source=samples", "negatives.source=samples: choose one of cutouts, "),
        ("stage=open", "stage=open: choose one of closed_set"),
        ("loss.weighting=mine", "loss.weighting=mine: choose one of paper"),
        ("loss.kind=mine", "loss.kind=mine: choose one of hybrid"),
        ("seed=-1", "seed=-1: must be a finite number of at least 0"),
        ("weight_decay=inf", "weight_decay=inf: must be a finite number of at least 0"),
        ("ema_decay=2", "ema_decay=2.0: must be at least 0 and below 1"),
        ("ema_decay=nan", "ema_decay=nan: must be a number"),
        ("crops.scale=[2,1]", "crops.scale=[2.0, 1.0]: must be two numbers above 0, the smaller one first"),
        ("crops.scale=[0,1]", "crops.scale=[0.0, 1.0]: must be two numbers above 0, the smaller one first"),
        ("negatives.count=[5,1]", "negatives.count=[5, 1]: must be two numbers of at least 0, the smaller one first"),
        ("crops.rare_share=1.5", "crops.rare_share=1.5: must be within 0..1"),
    ],
)
def test_entries_at_fault_are_named_in_one_line(minimal: Path, override: str | list[str], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read_config(minimal, [override] if isinstance(override, str) else override)
    assert "\n" not in str(caught.value)


def test_there_are_few_keys() -> None:
    def keys(kind: type) -> int:
        kinds = [item.default_factory for item in fields(kind)]
        return sum(keys(each) if is_dataclass(each) else 1 for each in kinds)

    assert keys(TrainConfig) <= 55
