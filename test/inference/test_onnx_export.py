# SPDX-License-Identifier: Apache-2.0
"""ONNX files: the segmenter's outputs at given and any sizes, scores that log(sigmoid(x)) can not hold, refusals."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_network import noise, tiny_model
from torch import Tensor, nn

from densehybrid_ros.errors import InputError
from densehybrid_ros.files import file_digest
from densehybrid_ros.inference import onnx_export
from densehybrid_ros.inference.onnx_export import OPSET, export_onnx
from densehybrid_ros.inference.segmenter import Segmenter
from densehybrid_ros.networks import DenseHybrid, LoadedModel, ModelCard, SegmentationNetwork
from densehybrid_ros.networks.blocks import SpatialPyramidPooling

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="onnx, onnxscript or onnxruntime is not installed",
)


class Pyramid(SegmentationNetwork):
    """Pyramid pooling, whose grids hang on the size, enlarged to a stem at stride 4."""

    num_classes, prelogit_channels, input_stride = 5, 8, 8

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.pyramid = SpatialPyramidPooling(8, bottleneck=4, level_channels=2, outputs=8, grids=(4,))
        self.classifier = nn.Conv2d(8, 5, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.stem(images)
        deep = self.pyramid(fine[:, :, ::2, ::2])
        features = fine + nn.functional.interpolate(deep, fine.shape[2:], mode="bilinear")
        return features, self.classifier(features)


@pytest.fixture
def model(tmp_path: Path) -> LoadedModel:
    """Pyramid pooling, and a posterior so sure that the logarithm of a sigmoid would be minus infinity."""
    torch.manual_seed(1)
    network = DenseHybrid(Pyramid()).eval()
    network.posterior_head.conv.bias.data = torch.tensor([200.0, 0.0])
    card = ModelCard("pyramid", "pyramid", ModelCard("", "").classes[:5], {"quiet": -3.5}, "quiet")
    path = tmp_path / "pyramid.safetensors"
    path.write_bytes(b"weights")
    return LoadedModel(network, card, path)


@pytest.mark.parametrize("size", [(45, 75), None], ids=["given size", "any size"])
def test_a_file_has_the_segmenters_classes_and_scores(
    model: LoadedModel, size: tuple[int, int] | None, tmp_path: Path
) -> None:
    import onnx
    import onnxruntime

    path = tmp_path / "out" / "model.onnx"
    errors = export_onnx(model, path, size)
    assert 0 <= errors["score_error_max"] < 1e-3
    graph = onnx.load(path)
    assert graph.opset_import[0].version == OPSET
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    segmenter = Segmenter(model, "eager", "cpu", cache=tmp_path / "cache")
    for height, width in [size] if size else [(45, 75), (33, 100), (64, 64)]:
        frame = noise((height, width))
        image = np.float32(frame.transpose(2, 0, 1)[None] / 255)
        semantic, score = session.run(["semantic", "anomaly_score"], {"image": image})
        expected = segmenter(frame)
        assert expected.anomaly_score.max() < -104
        assert (semantic.dtype, score.dtype) == (np.uint8, np.float32)
        np.testing.assert_allclose(score, expected.anomaly_score, atol=1e-3)
        assert np.mean(semantic == expected.semantic) > 0.999
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["classes"]) == ["road", "sidewalk", "building", "wall", "fence"]
    assert (facts["threshold"], facts["sha256"]) == ("-3.5", file_digest(model.path))
    assert facts["input_size"] == ("75x45" if size else "any")


def test_a_file_that_computes_something_else_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the exporter alone writes it: NaN where the outlier's odds are below exp(-104)."""
    network = tiny_model()
    network.posterior_head.conv.bias.data = torch.tensor([400.0, 0.0])
    weights = tmp_path / "tiny.safetensors"
    weights.write_bytes(b"")
    monkeypatch.setattr(onnx_export, "_REWRITTEN", {})
    with pytest.raises(InputError, match=r"at 45x31 the file's score is off eager by inf nats.*not written"):
        export_onnx(LoadedModel(network, ModelCard("tiny", "tiny"), weights), tmp_path / "tiny.onnx", (31, 45))
    assert not (tmp_path / "tiny.onnx").exists()


def test_what_can_not_be_exported_is_one_line(model: LoadedModel, tmp_path: Path, monkeypatch) -> None:
    class Branching(Pyramid):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return super().forward(images if float(images.mean()) > 0.5 else 1 - images)

    other = dataclasses.replace(model, network=DenseHybrid(Branching()).eval())
    with pytest.raises(InputError, match=r"^export: the network has no such graph \(\w+: .*; give --size") as raised:
        export_onnx(other, tmp_path / "no.onnx")
    assert "\n" not in str(raised.value)
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install onnx onnxscript onnxruntime"):
        export_onnx(model, tmp_path / "no.onnx")
    assert not (tmp_path / "no.onnx").exists()
