# SPDX-License-Identifier: Apache-2.0
"""The front door: what a Python user imports, typed, and as the README writes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import densehybrid_ros
from densehybrid_ros import Frame, Perception, Segmenter, Settings, load
from densehybrid_ros.errors import InputError
from densehybrid_ros.hazards.hazard import Level

IMAGE = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)


def test_every_name_of_the_front_door_is_there() -> None:
    for name in densehybrid_ros.__all__:
        assert getattr(densehybrid_ros, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = densehybrid_ros.nonsense


def test_the_package_is_imported_without_pytorch() -> None:
    code = "import densehybrid_ros, sys; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_load_and_segment() -> None:
    segmenter = load("light", device="cpu", backend="eager")
    assert isinstance(segmenter, Segmenter)
    result = segmenter(IMAGE)
    for mask in (result.semantic, result.open_set):
        assert (mask.shape, mask.dtype) == ((64, 128), np.uint8)
    assert (result.anomaly_score.shape, result.anomaly_score.dtype) == ((64, 128), np.float32)
    unknown = result.anomaly_score > segmenter.card.threshold()
    np.testing.assert_array_equal(result.open_set == segmenter.card.num_classes, unknown)
    expected = segmenter.card.confidence.probability(result.anomaly_score)
    np.testing.assert_allclose(result.probability, expected, atol=0.5 / 255 + 1e-5)


def test_options_of_load() -> None:
    names = load("light", device="cpu", backend="eager").card.thresholds
    name = next(iter(names))
    named = load("light", device="cpu", backend="eager", threshold=name, size=(64, 32))
    assert named.threshold == names[name]
    assert named(IMAGE).open_set.shape == (64, 128)
    everything = load(
        "light", device="cpu", backend="eager", threshold=-1000.0, input_policy="letterbox", size=(64, 32)
    )
    assert (everything(IMAGE).open_set == everything.card.num_classes).all()
    with pytest.raises(InputError, match="no threshold 'nowhere'"):
        load("light", threshold="nowhere")
    with pytest.raises(InputError, match="width, height"):
        load("light", size=(0, 32))


def test_perception_is_the_next_step_up() -> None:
    segmenter = load("light", device="cpu", backend="eager")
    perceived = Perception(segmenter, Settings(trigger_count=1))(Frame(IMAGE, stamp=1.0))
    assert perceived.masks.semantic.shape == (64, 128)
    assert perceived.hazards is not None
    assert perceived.alert.level in set(Level)
    assert perceived.alert.summary.values["hazard_count"] == str(len(perceived.hazards.hazards))


def test_readme_lines_run(tmp_path: Path) -> None:
    readme = Path(__file__).resolve().parents[1] / "README.md"
    if not readme.is_file():
        pytest.skip("README.md is not here")
    blocks = [part.split("```")[0] for part in readme.read_text(encoding="utf-8").split("```python\n")[1:]]
    assert len(blocks) >= 2
    setting_up = "import numpy as np\nimage = np.zeros((64, 128, 3), np.uint8)\n"
    runnable = [block for block in blocks if "train." not in block]
    file = tmp_path / "lines.py"
    file.write_text(setting_up + "\n".join(runnable))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(readme.parent), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, str(file)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
