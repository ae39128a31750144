# SPDX-License-Identifier: Apache-2.0
"""Any module under the hybrid head: what a trial run finds, what compilers make of it, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from plain_network import PlainNetwork
from torch import Tensor, nn
from torch.nn import functional

from densehybrid_ros import DenseHybrid
from densehybrid_ros.errors import InputError
from densehybrid_ros.networks.light import LightNetwork

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


@pytest.fixture
def model() -> DenseHybrid:
    torch.manual_seed(1)
    return DenseHybrid(PlainNetwork(), classifier="head.1", mean=MEAN, std=STD, encoder="backbone").eval()


def test_a_trial_run_finds_classes_channels_and_strides(model: DenseHybrid) -> None:
    network = model.network
    assert (network.num_classes, network.prelogit_channels) == (5, 12)
    assert (network.output_stride, network.input_stride) == (4, 8)
    assert not network.align_corners
    assert len(network.encoder_parameters()) == 6
    module = PlainNetwork()
    module.backbone[1].eval()
    DenseHybrid(module, classifier="head.1")  # the trial run leaves modes and statistics
    assert (module.training, module.backbone[1].training) == (True, False)
    assert int(module.backbone[1].num_batches_tracked) == 0


@torch.no_grad()
def test_it_normalises_and_computes_what_the_module_computes(model: DenseHybrid) -> None:
    images = torch.rand(2, 3, 64, 96)
    prelogits, logits = model.network(images)
    normalised = (images - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    expected = model.network.module(normalised)["out"]
    enlarged = functional.interpolate(logits, size=(64, 96), mode="bilinear")
    torch.testing.assert_close(enlarged, expected)
    torch.testing.assert_close(model.posterior_head(prelogits), model(images).posterior)


@torch.no_grad()
def test_it_pads_to_its_stride_and_crops(model: DenseHybrid) -> None:
    images = torch.rand(1, 3, 45, 70)
    output = model(images)
    assert output.logits.shape == (1, 5, 12, 18)
    assert output.posterior.shape == (1, 2, 12, 18)
    padded = model(functional.pad(images, (0, 2, 0, 3)))
    torch.testing.assert_close(output.logits, padded.logits)


@torch.no_grad()
def test_it_exports_and_compiles_as_one_graph(model: DenseHybrid) -> None:
    images = torch.rand(1, 3, 45, 70)
    expected = model(images)
    for strict in (False, True):
        exported = torch.export.export(model, (images,), strict=strict).module()(images)
        torch.testing.assert_close(exported.logits, expected.logits)
    compiled = torch.compile(model, fullgraph=True, dynamic=False, backend="eager")(images)
    for made, each in zip(compiled, expected, strict=True):
        torch.testing.assert_close(made, each, atol=1e-5, rtol=1e-4)


def test_every_parameter_learns_and_is_kept_once_in_a_copy_too(model: DenseHybrid) -> None:
    model, original = copy.deepcopy(model), model
    with torch.no_grad():
        original.network.module.head[1].layer.weight.zero_()
    assert model.network.module.head[1].layer.weight.any()
    output = model.train()(torch.rand(2, 3, 32, 32))
    (output.logits.square().mean() + output.posterior.square().mean()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert sorted(key for key in model.state_dict() if "head.1" in key) == [
        "network.module.head.1.layer.bias",
        "network.module.head.1.layer.weight",
    ]


def test_the_classifier_is_found_for_fine_tuning(model: DenseHybrid) -> None:
    assert model.network.classifier_layer == "module.head.1.layer"
    assert LightNetwork(5).classifier_layer == "classifier.conv"
    assert DenseHybrid(PlainNetwork(), classifier="head").network.classifier_layer == "module.head.layer.1"


class Enlarging(nn.Module):
    """Its head enlarges the maps, and runs as often as it is told to; takes images of one size where it is given."""

    def __init__(self, runs: int = 1, side: int | None = None) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 4, stride=4)
        self.head = nn.Sequential(nn.Conv2d(4, 3, 1), nn.Upsample(scale_factor=4))
        self.flat = nn.Linear(4, 3)
        self.runs, self.side = runs, side

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits."""
        if self.side not in (None, images.shape[2]):
            raise ValueError(f"takes images of {self.side}x{self.side}\nalone")
        features = self.body(images)
        self.flat(features.flatten(2).transpose(1, 2))
        return sum((self.head(features) for _ in range(self.runs)), torch.zeros(1))


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (Enlarging(), {}, "Enlarging: is no SegmentationNetwork; name the layer that gives its logits, such as "
         "classifier='head.0'"),
        (Enlarging(), {"classifier": "tail"}, "Enlarging: has no layer 'tail'; it has body, head, flat"),
        (Enlarging(), {"classifier": "head.0", "encoder": "spine"}, "Enlarging: has no layer 'spine'"),
        (Enlarging(), {"classifier": "head"}, r"classifier head: maps \(1, 4, 32, 32\) to \(1, 3, 128, 128\); name the "
         "layer before the maps are enlarged" .replace("32, 32", "16, 16").replace("128, 128", "64, 64")),
        (Enlarging(), {"classifier": "flat"}, r"classifier flat: maps \(1, 256, 4\) to .*, not \[B, C, h, w\] to"),
        (Enlarging(2), {"classifier": "head.0"}, "classifier head.0: runs 2 times a pass"),
        (Enlarging(0), {"classifier": "head.0"}, "classifier head.0: runs 0 times a pass"),
        (Enlarging(side=32), {"classifier": "head.0"}, r"Enlarging: does not run on images of 64x64 \(takes images of "
         r"32x32\); give input_stride"),
        (LightNetwork(5), {"classifier": "classifier"}, "LightNetwork: is a SegmentationNetwork; leave classifier out"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(module: nn.Module, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as refused:
        DenseHybrid(module, **options)
    assert "\n" not in str(refused.value)


def test_a_module_of_one_size_says_its_stride() -> None:
    network = DenseHybrid(Enlarging(side=32), classifier="head.0", input_stride=32).network
    assert (network.input_stride, network.output_stride) == (32, 4)
