# SPDX-License-Identifier: Apache-2.0
"""Published weights into our models, from files with the published keys and shapes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from densehybrid_ros.errors import InputError
from densehybrid_ros.research import published_weights
from densehybrid_ros.research.deeplab_wrn38 import DeepLabV3Plus
from densehybrid_ros.research.published_weights import import_weights

_LAYERS = (6, 12, 24, 16)


def _values(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def _norm(state: dict[str, Tensor], name: str, channels: int) -> None:
    for leaf in ("weight", "bias", "running_mean", "running_var"):
        state[f"{name}.{leaf}"] = _values(channels) + 0.1
    state[f"{name}.num_batches_tracked"] = torch.tensor(7)


def _norm_conv(state: dict[str, Tensor], name: str, inputs: int, outputs: int, kernel: int = 1, bias: int = 0) -> None:
    _norm(state, f"{name}.norm", inputs)
    state[f"{name}.conv.weight"] = _values(outputs, inputs, kernel, kernel)
    if bias:
        state[f"{name}.conv.bias"] = _values(outputs)


def _densenet(state: dict[str, Tensor], prefix: str, dot: str = "") -> int:
    """Writes DenseNet-121's features; returns the channels of the last."""
    state[f"{prefix}conv0.weight"] = _values(64, 3, 7, 7)
    _norm(state, f"{prefix}norm0", 64)
    channels = 64
    for block, layers in enumerate(_LAYERS, 1):
        for layer in range(1, layers + 1):
            name = f"{prefix}denseblock{block}.denselayer{layer}"
            _norm(state, f"{name}.norm{dot}1", channels)
            state[f"{name}.conv{dot}1.weight"] = _values(128, channels, 1, 1)
            _norm(state, f"{name}.norm{dot}2", 128)
            state[f"{name}.conv{dot}2.weight"] = _values(32, 128, 3, 3)
            channels += 32
        if block < 4:
            _norm_conv(state, f"{prefix}transition{block}", channels, channels // 2)
            channels //= 2
    return channels


def authors_ldn121(classes: int) -> dict[str, Tensor]:
    """The keys and shapes of method_facts: the authors' LDN-121."""
    state: dict[str, Tensor] = {}
    channels = _densenet(state, "backbone.features.")
    _norm_conv(state, "spp.spp.spp.spp_bn", channels, 512)
    for level in range(4):
        _norm_conv(state, f"spp.spp.spp.spp{level}", 512, 128)
    _norm_conv(state, "spp.spp.spp.spp_fuse", 1024, 512)
    for step, (skip, inputs, outputs) in enumerate([(1024, 512, 256), (512, 256, 256), (256, 256, 128)]):
        name = f"upsample.upsample_layers.upsample_{step}"
        _norm_conv(state, f"{name}.bottleneck", skip, inputs)
        _norm_conv(state, f"{name}.blend_conv", inputs, outputs, kernel=3)
        _norm_conv(state, f"{name}.logits_aux", inputs, 1, bias=1)
    _norm_conv(state, "logits", 128, classes, bias=1)
    _norm_conv(state, "logits_ood", 128, 2, bias=1)
    return state


def nvidia_deeplab(divisor: int = 16, classes: int = 19) -> dict[str, Tensor]:
    """NVIDIA's keys and shapes, every width divided."""
    inputs, pyramid, fine = 64 // divisor, 256 // divisor, 48 // divisor
    state = {"mod1.conv1.weight": _values(inputs, 3, 3, 3)}

    def conv_norm(conv: str, norm: str, inputs: int, kernel: int = 1) -> None:
        state[f"{conv}.weight"] = _values(pyramid, inputs, kernel, kernel)
        _norm(state, norm, pyramid)

    widths = [(128, 128), (256, 256), (512, 512), (512, 1024), (512, 1024, 2048), (1024, 2048, 4096)]
    for module, (full, blocks) in enumerate(zip(widths, (3, 3, 6, 3, 1, 1), strict=True), 2):
        for block in range(1, blocks + 1):
            name = f"mod{module}.block{block}"
            if block == 1:
                state[f"{name}.proj_conv.weight"] = _values(full[-1] // divisor, inputs, 1, 1)
            _norm(state, f"{name}.bn1.0", inputs)
            for index, width in enumerate(full, 1):
                kernel = 3 if len(full) == 2 or index == 2 else 1
                if index > 1:
                    _norm(state, f"{name}.convs.bn{index}.0", inputs)
                state[f"{name}.convs.conv{index}.weight"] = _values(width // divisor, inputs, kernel, kernel)
                inputs = width // divisor
    for branch, kernel in enumerate((1, 3, 3, 3)):
        conv_norm(f"aspp.features.{branch}.0", f"aspp.features.{branch}.1", inputs, kernel)
    conv_norm("aspp.img_conv.0", "aspp.img_conv.1", inputs)
    state["bot_fine.weight"] = _values(fine, 128 // divisor, 1, 1)
    state["bot_aspp.weight"] = _values(pyramid, 5 * pyramid, 1, 1)
    conv_norm("final.0", "final.1", pyramid + fine, 3)
    conv_norm("final.3", "final.4", pyramid, 3)
    state["final.6.weight"] = _values(classes, pyramid, 1, 1)
    return state


def torchvision_densenet121() -> dict[str, Tensor]:
    """torchvision's published file, in its old spelling with a dot."""
    state: dict[str, Tensor] = {}
    channels = _densenet(state, "features.", dot=".")
    _norm(state, "features.norm5", channels)
    return {**state, "classifier.weight": _values(1000, channels), "classifier.bias": _values(1000)}


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.fixture
def small_deeplab(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds the DeepLabV3+ at a sixteenth of its widths."""
    monkeypatch.setattr(published_weights, "build_network", lambda _, classes: DeepLabV3Plus(classes, width_divisor=16))


@pytest.fixture(scope="module")
def open_set() -> dict[str, Tensor]:
    return authors_ldn121(12)


def assert_filled(ours: dict[str, Tensor], theirs: dict[str, Tensor], pairs: str) -> None:
    """``pairs`` are lines of our key and theirs; the rest would be a key that is missing or unexpected."""
    for our_key, their_key in (line.split() for line in pairs.strip().splitlines()):
        torch.testing.assert_close(ours[our_key], theirs[their_key], rtol=0, atol=0)


def test_the_authors_open_set_file_has_827_entries_and_fills_every_layer(
    open_set: dict[str, Tensor], tmp_path: Path
) -> None:
    assert len(open_set) == 827
    model = import_weights("authors_ldn121", save(tmp_path / "ldn.pth", open_set), 12)
    assert (model.architecture, model.stage) == ("ldn121", "open_set")
    pairs = """
        network.stem.0.weight backbone.features.conv0.weight
        network.blocks.3.15.grow.norm.running_var backbone.features.denseblock4.denselayer16.norm2.running_var
        network.blocks.0.0.reduce.conv.weight backbone.features.denseblock1.denselayer1.conv1.weight
        network.transitions.2.reduce.conv.weight backbone.features.transition3.conv.weight
        network.pyramid.levels.3.norm.bias spp.spp.spp.spp3.norm.bias
        network.ladder.0.bottleneck.conv.weight upsample.upsample_layers.upsample_0.bottleneck.conv.weight
        network.ladder.2.blend.conv.weight upsample.upsample_layers.upsample_2.blend_conv.conv.weight
        network.classifier.conv.bias logits.conv.bias
        posterior_head.conv.bias logits_ood.conv.bias
    """
    assert_filled(model.network.state_dict(), open_set, pairs)


def test_a_closed_set_file_leaves_the_posterior_head_random_but_repeatable(
    open_set: dict[str, Tensor], tmp_path: Path
) -> None:
    state = {key: value for key, value in open_set.items() if not key.startswith("logits_ood")}
    path = save(tmp_path / "ldn.pth", state)
    first, second = (import_weights("authors_ldn121", path, 12) for _ in range(2))
    assert first.stage == "closed_set"
    torch.testing.assert_close(first.network.posterior_head.conv.weight, second.network.posterior_head.conv.weight)


@pytest.mark.usefixtures("small_deeplab")
@pytest.mark.parametrize("old", [False, True])
def test_nvidias_checkpoint_is_read_with_its_wrapping(tmp_path: Path, old: bool) -> None:
    state = nvidia_deeplab(16)
    content = {
        "state_dict": {f"module.{key}": value for key, value in state.items()},
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.001}]},
        "epoch": 174,
        "mean_iu": np.float64(0.8),
        "command": "--dataset cityscapes",
    }
    path = tmp_path / "best.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    if old:  # the file is of 2019: no archive yet, and NumPy 1's module names
        path.write_bytes(path.read_bytes().replace(b"numpy._core.", b"numpy.core."))
    model = import_weights("nvidia_deeplab", path, 19)
    assert (model.architecture, model.stage) == ("deeplab_wrn38", "closed_set")
    pairs = """
        encoder.stages.0.2.layers.3.weight mod2.block3.convs.conv2.weight
        encoder.stages.4.0.layers.7.weight mod6.block1.convs.conv3.weight
        encoder.stages.5.0.layers.4.bias mod7.block1.convs.bn3.0.bias
        encoder.stages.2.0.projection.weight mod4.block1.proj_conv.weight
        pyramid.mean.0.weight aspp.img_conv.0.weight
        pyramid.branches.3.0.weight aspp.features.3.0.weight
        classifier.norm.4.running_mean final.4.running_mean
        classifier.conv.weight final.6.weight
    """
    assert_filled(model.network.network.state_dict(), state, pairs)


@pytest.mark.usefixtures("small_deeplab")
def test_the_authors_fine_tuned_deeplab_brings_its_posterior_head(tmp_path: Path) -> None:
    state = nvidia_deeplab(16)
    _norm_conv(state, "logits_ood", 19, 2, bias=1)  # 304 / 16
    model = import_weights("nvidia_deeplab", save(tmp_path / "dlv3.pth", state), 19)
    assert model.stage == "open_set"
    torch.testing.assert_close(model.network.posterior_head.conv.bias, state["logits_ood.conv.bias"])


@pytest.mark.parametrize("dotted", [True, False])
def test_torchvisions_file_fills_the_encoder_alone(tmp_path: Path, dotted: bool) -> None:
    state = torchvision_densenet121()
    original = state["features.denseblock2.denselayer3.conv.2.weight"]
    if not dotted:
        state = {key.replace("norm.", "norm").replace("conv.", "conv") if "denselayer" in key else key: value
                 for key, value in state.items()}  # fmt: skip
    model = import_weights("torchvision_densenet121", save(tmp_path / "densenet.pth", state), 12)
    assert (model.stage, model.num_classes) == ("encoder", 12)
    torch.testing.assert_close(model.network.network.blocks[1][2].grow.conv.weight, original)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"logits_ood.conv.bias": None}, r"ldn\.pth: lacks key logits_ood\.conv\.bias; check --format"),
        ({"spp.spp.spp.spp_bn.conv.weight": None}, r"ldn\.pth: lacks key spp\.spp\.spp\.spp_bn\.conv\.weight; "),
        ({"extra.weight": torch.zeros(1)}, r"ldn\.pth: has the unexpected key extra\.weight; "),
        ({"logits.norm.bias": torch.zeros(3)}, r"ldn\.pth: logits\.norm\.bias has shape \(3,\) instead of \(128,\)"),
        ({"logits.conv.weight": torch.zeros(5, 128, 1, 1)}, r"ldn\.pth: its classifier has 5 classes, not 12"),
    ],
)
def test_a_key_at_fault_is_named_in_one_line(
    open_set: dict[str, Tensor], tmp_path: Path, changes: dict[str, Tensor | None], message: str
) -> None:
    state = {key: value for key, value in {**open_set, **changes}.items() if value is not None}
    with pytest.raises(InputError, match=message) as caught:
        import_weights("authors_ldn121", save(tmp_path / "ldn.pth", state), 12)
    assert "\n" not in str(caught.value)
