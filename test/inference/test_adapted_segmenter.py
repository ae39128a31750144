# SPDX-License-Identifier: Apache-2.0
"""A module of others in the segmenter: any frame, any policy, the same pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from plain_network import PlainNetwork
from torch.nn import functional

from densehybrid_ros import DenseHybrid
from densehybrid_ros.inference import Segmenter
from densehybrid_ros.inference.cost import network_cost
from densehybrid_ros.inference.dense_output import dense_output
from densehybrid_ros.inference.machine import source_digest
from densehybrid_ros.networks import LoadedModel, ModelCard


@pytest.fixture
def plain() -> LoadedModel:
    torch.manual_seed(2)
    model = DenseHybrid(PlainNetwork(19), classifier="head.1", mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)).eval()
    return LoadedModel(model, ModelCard("plain", "plain"), Path("plain.safetensors"))


@pytest.mark.parametrize("camera", [(64, 96), (33, 61)], ids=str)
@torch.inference_mode()
def test_scores_are_those_of_the_padded_network(plain: LoadedModel, tmp_path: Path, camera) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*camera, 3), dtype=np.uint8)
    made = Segmenter(plain, "eager", "cpu", cache=tmp_path)(image, 0.0)
    images = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    padding = (-camera[1] % 8, -camera[0] % 8)
    size = (camera[0] + padding[1], camera[1] + padding[0])
    output = plain.network(functional.pad(images, (0, padding[0], 0, padding[1])))
    expected = dense_output(output, size, 0.0).anomaly_score[: camera[0], : camera[1]]
    np.testing.assert_allclose(made.anomaly_score, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("policy", ["resize", "letterbox"])
def test_policies_bring_frames_to_its_stride(plain: LoadedModel, tmp_path: Path, policy: str) -> None:
    segmenter = Segmenter(plain, "eager", "cpu", size=(30, 50), input_policy=policy, cache=tmp_path)
    made = segmenter(np.zeros((45, 61, 3), np.uint8), 0.0)
    assert made.anomaly_score.shape == (45, 61)
    assert segmenter.look(np.zeros((45, 61, 3), np.uint8)).seen.images.shape == (1, 3, 32, 56)


def test_its_cost_and_code_are_known(plain: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert network_cost(plain.network, (64, 96), torch.float32).flops > 0
    before = source_digest(plain.network)
    monkeypatch.setattr("inspect.getsource", lambda module: f"another {module.__name__}")
    assert source_digest(plain.network) != before  # its engines are built again after a change
