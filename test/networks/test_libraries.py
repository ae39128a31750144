# SPDX-License-Identifier: Apache-2.0
"""Small networks of timm, torchvision and segmentation_models_pytorch, and what is said where these are missing."""

from __future__ import annotations

import copy
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import DenseHybrid, build_network


def needed(name: str) -> Any:
    """Imports a library, or skips: it may be missing, or built for another torch."""
    try:
        return import_module(name)
    except Exception as error:
        pytest.skip(f"{name} does not import: {error}")


@pytest.mark.parametrize(
    ("library", "architecture", "output_stride", "input_stride"),
    [
        ("timm", "timm:mobilenetv3_small_050", 4, 32),
        ("torchvision", "torchvision:deeplabv3_resnet50", 8, 8),
        ("segmentation_models_pytorch", "smp:Unet:resnet18", 1, 32),
    ],
)
def test_one_runs_exports_and_learns(library: str, architecture: str, output_stride: int, input_stride: int) -> None:
    needed(library)
    model = DenseHybrid(build_network(architecture, 5)).eval()
    network = model.network
    assert (network.output_stride, network.input_stride, network.num_classes) == (output_stride, input_stride, 5)
    assert network.get_submodule(network.classifier_layer).out_channels == 5
    assert 0 < len(network.encoder_parameters()) < len(list(network.parameters()))
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        output = model(images)
        exported = torch.export.export(model, (images,)).module()(images)
    assert output.logits.shape == (1, 5, 64 // output_stride, 96 // output_stride)
    torch.testing.assert_close(exported.logits, output.logits)
    output = copy.deepcopy(model).train()(torch.rand(2, 3, 32, 32))
    (output.logits.square().mean() + output.posterior.square().mean()).backward()
    assert output.posterior.shape[:2] == (2, 2)


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_imagenet_weights_of_timm_come_from_a_file(tmp_path: Path, ending: str) -> None:
    timm = needed("timm")
    whole = timm.create_model("mobilenetv3_small_050", pretrained=False)
    path = tmp_path / f"weights.{ending}"
    if ending == "pth":
        torch.save(whole.state_dict(), path)
    else:
        import_module("safetensors.torch").save_file(whole.state_dict(), path)
    network = build_network("timm:mobilenetv3_small_050", 5)
    network.load_imagenet_encoder(path)
    assert torch.equal(network.encoder.conv_stem.weight, whole.conv_stem.weight)
    with pytest.raises(InputError, match=rf"weights\.{ending}: does not fit"):
        build_network("timm:resnet10t", 5).load_imagenet_encoder(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(InputError, match=rf"weights\.{ending}: (not a readable weights file|can't be read)"):
        network.load_imagenet_encoder(path)


def test_imagenet_weights_of_torchvision_come_from_a_file(tmp_path: Path) -> None:
    models = needed("torchvision.models")
    whole = models.mobilenet_v3_large()
    network = build_network("torchvision:deeplabv3_mobilenet_v3_large", 5)
    published = {key.removeprefix("features."): value for key, value in whole.state_dict().items()}
    torch.save(published, tmp_path / "weights.pth")
    network.load_imagenet_encoder(tmp_path / "weights.pth")
    assert torch.equal(network.module.backbone["0"][0].weight, whole.features[0][0].weight)
    torch.save({}, tmp_path / "weights.pth")
    with pytest.raises(InputError, match=r"weights\.pth: no tensor 0\.0\.weight of shape .*; is it of this encoder"):
        network.load_imagenet_encoder(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    ("library", "architecture", "message"),
    [
        ("timm", "timm:nonsense", "timm:nonsense: timm makes no encoder"),
        ("timm", "timm:vit_tiny_patch16_224", "timm:vit_tiny_patch16_224: has features at strides .*needs 4, 8, 16"),
        ("timm", "timm:swin_tiny_patch4_window7_224", "takes no images of every size"),
        ("torchvision", "torchvision:nonsense", "unknown; choose one of .*deeplabv3_resnet50"),
        ("torchvision", "torchvision:lraspp_mobilenet_v3_large", "LRASPP: has no layer 'classifier.4'"),
        ("segmentation_models_pytorch", "smp:resnet18", "smp:resnet18: write smp:DECODER:ENCODER"),
    ],
)
def test_what_they_do_not_have_is_refused_in_one_line(library: str, architecture: str, message: str) -> None:
    needed(library)
    with pytest.raises(InputError, match=message) as refused:
        build_network(architecture, 5)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("library", ["timm", "torchvision", "segmentation_models_pytorch"])
def test_a_missing_library_is_named(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [library, *(name for name in sys.modules if name.startswith(f"{library}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    architecture = {"segmentation_models_pytorch": "smp:Unet:resnet18"}.get(library, f"{library}:resnet18")
    with pytest.raises(InputError, match=rf"{library}: does not import .*; pip install densehybrid_ros\[networks\]"):
        build_network(architecture, 5)
