# SPDX-License-Identifier: Apache-2.0
"""Reading a run's YAML and its overrides."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from densehybrid_ros import research
from densehybrid_ros.datasets.negative_recipes import RECIPES
from densehybrid_ros.datasets.registry import NEGATIVE_SETS, TRAINING_SETS
from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import architecture_names
from densehybrid_ros.networks.dense_flow import FLOWS
from densehybrid_ros.training.config import TrainConfig
from densehybrid_ros.training.config_file import FINE_TUNE, read_config

REPOSITORY = Path(__file__).resolve().parents[2]
MINIMAL = "name: a\narchitecture: light\n"


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


def test_overrides_reach_sections_and_keep_their_types(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(MINIMAL + "crops: {height: 64}\n")
    overrides = [
        "steps=7",
        "crops.scale=[1, 2]",
        "learning_rate=1e-4",
        "negatives.root=/data/x",
        "loss.likelihood_floor=-5",
        "data.sets.cityscapes=/data/city",
    ]
    config = read_config(path, overrides)
    assert (config.steps, config.crops.height, config.crops.width) == (7, 64, 512)
    assert config.crops.scale == (1.0, 2.0)
    assert config.learning_rate == 1e-4
    assert config.negatives.root == "/data/x"
    assert config.loss.likelihood_floor == -5.0
    assert config.data.sets == {"cityscapes": "/data/city"}


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("- a\n", [], "must be a mapping"),
        ("a: [", [], "not valid YAML"),
        ("name: a\n", [], "the key architecture is missing"),
        (MINIMAL, ["stepz=3"], "unknown key stepz"),
        (MINIMAL, ["crops.hight=3"], r"crops\.unknown key hight"),
        (MINIMAL, ["steps=many"], "steps=many: must be of type int"),
        (MINIMAL, ["steps=2.5"], "steps=2.5: must be of type int"),
        (MINIMAL, ["crops.scale=1"], "scale=1: must be a list of 2"),
        (MINIMAL, ["cuda_graph=1"], "must be of type bool"),
        (MINIMAL, ["steps"], "has the form key=value"),
        (MINIMAL, ["name.x=3"], "name is not a section"),
        (MINIMAL, ["crops=3"], "crops must be a section"),
        (MINIMAL, ["data.sets=3"], "sets=3: must be a mapping"),
        (MINIMAL, ["loss.teacher=a.safetensors"], r"loss\.unknown key teacher"),
        (MINIMAL, ["negatives.source=samples"], "negatives.source=samples: choose one of cutouts, "),
        (MINIMAL, ["data.sets.cityscapes=3"], r"sets\.cityscapes=3: must be of type str"),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path: Path, text: str, overrides: list[str], message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_config(path, overrides)
    assert "\n" not in str(caught.value)


def test_a_file_extends_others_relative_to_itself(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a.yaml").write_text(MINIMAL + "crops: {height: 64, width: 32}\nseed: 4\n")
    (tmp_path / "b.yaml").write_text("extends: below/a.yaml\ncrops: {width: 96}\nsteps: 5\n")
    (tmp_path / "c.yaml").write_text("extends: b.yaml\nsteps: 6\n")
    config = read_config(tmp_path / "c.yaml", ["seed=7"])
    assert (config.name, config.crops.height, config.crops.width, config.steps, config.seed) == ("a", 64, 96, 6, 7)


@pytest.mark.parametrize(
    ("below", "message"),
    [
        ("run.yaml", "run.yaml: extends=run.yaml: leads back to a file that extends this one; take it out"),
        ("other.yaml", "other.yaml: extends=run.yaml: leads back to a file that extends this one; take it out"),
        ("none.yaml", "none.yaml: can't be read (No such file or directory)"),
        ("[a, b]", "run.yaml: extends=['a', 'b']: must be the name of a file"),
    ],
)
def test_what_extends_nothing_is_named_in_one_line(tmp_path: Path, below: str, message: str) -> None:
    (tmp_path / "other.yaml").write_text("extends: run.yaml\n")
    (tmp_path / "run.yaml").write_text(f"extends: {below}\n" + MINIMAL)
    with pytest.raises(InputError, match=f"{re.escape(message)}$") as caught:
        read_config(tmp_path / "run.yaml")
    assert "\n" not in str(caught.value)


def test_there_are_few_keys() -> None:
    def keys(kind: type) -> int:
        kinds = [item.default_factory for item in fields(kind)]
        return sum(keys(each) if is_dataclass(each) else 1 for each in kinds)

    assert keys(TrainConfig) <= 55


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: can't be read"):
        read_config(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=-1", "seed=-1: must be a finite number of at least 0"),
        ("weight_decay=inf", "weight_decay=inf: must be a finite number of at least 0"),
        ("ema_decay=2", "ema_decay=2.0: must be at least 0 and below 1"),
        ("ema_decay=nan", "ema_decay=nan: must be a number"),
        ("data.workers=-1", "data.workers=-1: must be a finite number of at least 0"),
        ("crops.scale=[2,1]", "crops.scale=[2.0, 1.0]: must be two numbers above 0, the smaller one first"),
        ("crops.scale=[0,1]", "crops.scale=[0.0, 1.0]: must be two numbers above 0, the smaller one first"),
        ("crops.hue_jitter=-2", "crops.hue_jitter=-2.0: must be a finite number of at least 0"),
        ("negatives.count=[5,1]", "negatives.count=[5, 1]: must be two numbers of at least 0, the smaller one first"),
        ("negatives.size=[400,16]", "negatives.size=[400.0, 16.0]: must be two numbers above 0, the smaller one first"),
        ("crops.rare_share=1.5", "crops.rare_share=1.5: must be within 0..1"),
        ("loss.likelihood_floor=nan", "loss.likelihood_floor=nan: must be a number"),
    ],
)
def test_numbers_are_within_their_bounds(tmp_path: Path, override: str, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(MINIMAL)
    with pytest.raises(InputError, match=f"{re.escape(message)}$"):
        read_config(path, [override])


def test_numbers_at_their_bounds_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(MINIMAL)
    config = read_config(path, ["negatives.count=[0,0]", "loss.likelihood_floor=-30", "crops.scale=[1,1]"])
    assert (config.negatives.count, config.crops.scale) == ((0, 0), (1.0, 1.0))
