# SPDX-License-Identifier: Apache-2.0
"""What the layers of published weights files are called: our module name -> theirs, a table an architecture.

Names and shapes are facts of the files; each table says whose.
"""

from __future__ import annotations

_DENSE_BLOCKS = (6, 12, 24, 16)
_WIDE_BLOCKS = (3, 3, 6, 3, 1, 1)
_BOTTLENECK_STAGES = (4, 5)  # of WideResNet-38: three convolutions a block
_NORM_RELU_CONV = ("norm", "conv")


def densenet121_names(prefix: str) -> dict[str, str]:
    """The encoder of the ladder DenseNet in files that follow torchvision's ``densenet121``.

    Args:
        prefix: Of their names: ``features.`` (torchvision) or ``backbone.features.`` (the authors).
    """
    names = {"stem.0": "conv0", "stem.1": "norm0"}
    for block, layers in enumerate(_DENSE_BLOCKS):
        for layer in range(layers):
            for step, index in (("reduce", 1), ("grow", 2)):
                for part in _NORM_RELU_CONV:
                    ours = f"blocks.{block}.{layer}.{step}.{part}"
                    names[ours] = f"denseblock{block + 1}.denselayer{layer + 1}.{part}{index}"
    for transition in range(len(_DENSE_BLOCKS) - 1):
        for part in _NORM_RELU_CONV:
            names[f"transitions.{transition}.reduce.{part}"] = f"transition{transition + 1}.{part}"
    return {ours: prefix + theirs for ours, theirs in names.items()}


def ladder_densenet_names() -> dict[str, str]:
    """The authors' LDN-121 without its posterior head (``logits_ood``) and its auxiliary outputs (``logits_aux``)."""
    names = densenet121_names("backbone.features.")
    for part in _NORM_RELU_CONV:
        names[f"pyramid.bottleneck.{part}"] = f"spp.spp.spp.spp_bn.{part}"
        names[f"pyramid.fuse.{part}"] = f"spp.spp.spp.spp_fuse.{part}"
        names[f"classifier.{part}"] = f"logits.{part}"
        for level in range(4):
            names[f"pyramid.levels.{level}.{part}"] = f"spp.spp.spp.spp{level}.{part}"
        for step in range(3):
            for ours, theirs in (("bottleneck", "bottleneck"), ("blend", "blend_conv")):
                names[f"ladder.{step}.{ours}.{part}"] = f"upsample.upsample_layers.upsample_{step}.{theirs}.{part}"
    return names


def deeplab_wrn38_names() -> dict[str, str]:
    """NVIDIA's DeepLabV3+ on WideResNet-38 (branch ``sdcnet`` of their semantic-segmentation repository)."""
    names = {"encoder.stem": "mod1.conv1"}
    for stage, blocks in enumerate(_WIDE_BLOCKS):
        for block in range(blocks):
            ours, theirs = f"encoder.stages.{stage}.{block}", f"mod{stage + 2}.block{block + 1}"
            names[f"{ours}.norm"] = f"{theirs}.bn1.0"
            convolutions = 3 if stage in _BOTTLENECK_STAGES else 2
            position = 0
            for index in range(1, convolutions + 1):
                if index > 1:
                    names[f"{ours}.layers.{position}"] = f"{theirs}.convs.bn{index}.0"
                    position += 2  # the norm and its ReLU
                if index == convolutions and stage in _BOTTLENECK_STAGES:
                    position += 1  # dropout, before the last convolution
                names[f"{ours}.layers.{position}"] = f"{theirs}.convs.conv{index}"
                position += 1
            if block == 0:  # the width changes
                names[f"{ours}.projection"] = f"{theirs}.proj_conv"
    for layer in (0, 1):  # convolution, norm
        names[f"pyramid.mean.{layer}"] = f"aspp.img_conv.{layer}"
        for branch in range(4):
            names[f"pyramid.branches.{branch}.{layer}"] = f"aspp.features.{branch}.{layer}"
    names |= {"reduce_fine": "bot_fine", "reduce_pyramid": "bot_aspp"}
    names |= {f"classifier.norm.{layer}": f"final.{layer}" for layer in (0, 1, 3, 4)}
    names["classifier.conv"] = "final.6"
    return names


def posterior_names() -> dict[str, str]:
    """The dataset-posterior head in the authors' files; a closed-set file lacks it."""
    return {f"posterior_head.{part}": f"logits_ood.{part}" for part in _NORM_RELU_CONV}
