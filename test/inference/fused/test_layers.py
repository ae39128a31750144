# SPDX-License-Identifier: Apache-2.0
"""Each fused layer, and the networks of them, against PyTorch's operations in float32, at sizes no block divides."""

from __future__ import annotations

import os
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("no CUDA device; TRITON_INTERPRET=1 runs these in Triton's interpreter", allow_module_level=True)
pytest.importorskip("triton", reason="Triton is not installed: PyTorch's CPU wheels come without it")

from densehybrid_ros.inference.dense_output import dense_output
from densehybrid_ros.inference.fused import fuse
from densehybrid_ros.inference.fused.convolutions import Depthwise, Grow, Pointwise
from densehybrid_ros.inference.fused.device_functions import NONE, RELU, RELU6
from densehybrid_ros.inference.fused.ladder import Heads, Step
from densehybrid_ros.inference.fused.layout import bordered, padded, with_border
from densehybrid_ros.inference.fused.pooling import Pool, Pyramid
from densehybrid_ros.inference.fused.stems import PooledStem, Stem
from densehybrid_ros.inference.fused.tiles import Tiles
from densehybrid_ros.networks import DenseHybrid, HybridOutput, build_network
from densehybrid_ros.networks.blocks import BNReLUConv, LadderStep, SpatialPyramidPooling
from densehybrid_ros.networks.ladder_densenet import DenseLayer, Transition

SIZE = (11, 37)
Module = TypeVar("Module", bound=nn.Module)


@pytest.fixture
def device() -> torch.device:
    """A GPU, or the CPU with Triton's interpreter."""
    torch.manual_seed(0)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def with_random_norms(module: Module) -> Module:
    """Fills all batch normalisations of ``module``, some factors negative, and returns it in inference mode."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_(0, 0.3)
            part.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            part.weight.data[::5] *= -1
            nn.init.normal_(part.bias, 0, 0.3)
    return module.eval().requires_grad_(False)


def maps(channels: int, device: torch.device, size: tuple[int, int] = SIZE) -> Tensor:
    """Random features [1, C, H, W], values that float16 holds."""
    return torch.randn(1, channels, *size, device=device).half().float()


def pixels(features: Tensor) -> Tensor:
    """[1, C, H, W] -> float16 [H, W, C]."""
    return features[0].permute(1, 2, 0).contiguous().half()


def assert_close(made: Tensor, expected: Tensor) -> None:
    """Compares [H, W, C] with [1, C, H, W]; what float16 inputs and weights explain is a thousandth of the largest."""
    wanted = expected[0].permute(1, 2, 0)
    assert made.shape == wanted.shape
    torch.testing.assert_close(made.float(), wanted, rtol=0.01, atol=0.004 * float(wanted.abs().max()))


@pytest.mark.parametrize("inputs", [32, 96, 208])
def test_dense_layer_writes_its_slice_alone(inputs: int, device: torch.device) -> None:
    layer = with_random_norms(DenseLayer(inputs)).to(device)
    features = maps(inputs, device)
    expected = layer(features)[:, inputs:]
    buffer = torch.full((*SIZE, inputs + 64), 7.0, dtype=torch.float16, device=device)
    buffer[..., :inputs] = pixels(features)
    reduce = Pointwise(Tiles(), layer.reduce.conv, layer.reduce.norm, layer.grow.norm, RELU)
    Grow(Tiles(), layer.grow.conv)(reduce(buffer), out=buffer[..., inputs : inputs + 32])
    assert_close(buffer[..., inputs : inputs + 32], expected)
    assert (buffer[..., :inputs] == pixels(features)).all()
    assert (buffer[..., inputs + 32 :] == 7).all()


def test_transition(device: torch.device) -> None:
    transition = with_random_norms(Transition(96)).to(device)
    features = maps(96, device)
    pooled = Pool(Tiles(), transition.reduce.norm)(pixels(features))
    assert_close(Pointwise(Tiles(), transition.reduce.conv)(pooled), transition(features))


@pytest.mark.parametrize("size", [(8, 16), (11, 37), (3, 4)])
def test_pyramid(size: tuple[int, int], device: torch.device) -> None:
    pyramid = with_random_norms(SpatialPyramidPooling(64, 64, 32, 48)).to(device)
    features = maps(64, device, size)
    assert_close(Pyramid(Tiles(), pyramid)(pixels(features)), pyramid(features))


@pytest.mark.parametrize("size", [(6, 19), (5, 18), (11, 37)])
def test_ladder_step(size: tuple[int, int], device: torch.device) -> None:
    step = with_random_norms(LadderStep(32, 80, 64)).to(device)
    features, skip = maps(32, device, size), maps(80, device)
    assert_close(Step(Tiles(), step)(pixels(features), pixels(skip)), step(features, skip))


@pytest.mark.parametrize("classes", [1, 19, 40])
def test_heads(classes: int, device: torch.device) -> None:
    classifier = with_random_norms(BNReLUConv(128, classes, 1, bias=True)).to(device)
    posterior = with_random_norms(BNReLUConv(128, 2, 1, bias=True)).to(device)
    features = maps(128, device)
    expected = classifier(features.clone()), posterior(features.clone())
    made = Heads(Tiles(), classifier, posterior)(pixels(features))
    closed = Heads(Tiles(), classifier, None)(pixels(features))
    assert (len(made), len(closed)) == (2, 1)
    for maps_made, wanted in zip((*made, *closed), (*expected, expected[0]), strict=True):
        assert_close(maps_made[0].permute(1, 2, 0), wanted)


@pytest.mark.parametrize("size", [(32, 64), (37, 59), (34, 33)])
def test_pooled_stem(size: tuple[int, int], device: torch.device) -> None:
    stem = nn.Sequential(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2))
    stem = with_random_norms(stem).to(device)
    images = maps(3, device, size)
    expected = stem(images)
    out = torch.empty(*expected.shape[2:], 64, dtype=torch.float16, device=device)
    assert_close(PooledStem(Tiles(), stem[0], stem[1])(with_border(images), out), expected)


@pytest.mark.parametrize("size", [(32, 64), (37, 59)])
def test_stem_that_normalises_the_image(size: tuple[int, int], device: torch.device) -> None:
    stem = with_random_norms(nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32))).to(device)
    images = torch.rand(1, 3, *size, device=device).half().float()
    expected = functional.relu6(stem((images - 0.498) / 0.502))
    made = Stem(Tiles(), stem[0], stem[1], 0.498, 0.502)(with_border(images, 0.498))
    assert_close(made, expected)


@pytest.mark.parametrize("channels", [24, 80])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_depthwise(kernel: int, stride: int, channels: int, device: torch.device) -> None:
    conv = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
    both = with_random_norms(nn.Sequential(conv, nn.BatchNorm2d(channels))).to(device)
    features = maps(channels, device)
    wide = torch.zeros(*SIZE, padded(channels), dtype=torch.float16, device=device)
    wide[..., :channels] = pixels(features)
    made = Depthwise(Tiles(), both[0], both[1])(wide)
    assert_close(made[..., :channels], functional.relu6(both(features)))


@pytest.mark.parametrize("activation", [NONE, RELU6])
def test_pointwise_with_a_residual(activation: int, device: torch.device) -> None:
    both = with_random_norms(nn.Sequential(nn.Conv2d(40, 24, 1, bias=False), nn.BatchNorm2d(24))).to(device)
    features, residual = maps(40, device), maps(24, device)
    wide = torch.zeros(*SIZE, 48, dtype=torch.float16, device=device)
    wide[..., :40] = pixels(features)
    beside = torch.zeros(*SIZE, 32, dtype=torch.float16, device=device)
    beside[..., :24] = pixels(residual)
    made = Pointwise(Tiles(), both[0], after=both[1], activation=activation)(wide, residual=beside)
    expected = both(features) + residual
    assert_close(made[..., :24], functional.relu6(expected) if activation else expected)
    assert (made[..., 24:] == 0).all()


def test_a_bordered_image_is_not_copied(device: torch.device) -> None:
    images = bordered((5, 7), device, 0.5)
    images.fill_(2.0)
    whole = with_border(images, 0.5)
    assert whole.data_ptr() <= images.data_ptr() < whole.data_ptr() + whole.numel() * 2
    assert (whole[3:-3, 4:-4, :3] == 2).all()
    assert (whole[..., 3] == 0).all()
    assert (whole[:3, :, :3] == 0.5).all()
    assert torch.equal(with_border(images.clone(), 0.5), whole)


@pytest.mark.parametrize("size", [(32, 64), (45, 71)])
@pytest.mark.parametrize("architecture", ["ldn121", "light"])
def test_scores_and_logits_agree(architecture: str, size: tuple[int, int], device: torch.device) -> None:
    model = with_random_norms(DenseHybrid(build_network(architecture, 19))).to(device)
    images = torch.rand(1, 3, *size, device=device).half().float()
    expected = model(images)
    made = fuse(model, Tiles())
    filled = bordered(size, device, made.border).copy_(images)
    output = HybridOutput(*made(filled))
    for part, wanted in zip(output, expected, strict=True):
        assert part.shape == wanted.shape
        assert float((part.float() - wanted).norm() / wanted.norm()) < 0.01
    scores = [dense_output(each, size, 0.0).anomaly_score for each in (output, expected)]
    assert float((scores[0] - scores[1]).abs().mean()) < 0.02
    closed = fuse(model, Tiles(), closed_set=True)(filled)
    assert len(closed) == 1
    torch.testing.assert_close(closed[0], output.logits)
