# SPDX-License-Identifier: Apache-2.0
"""The tiny network; run as a program it stores its engine as a build does, which tests kill, race and wait for."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from densehybrid_ros.errors import InputError
from densehybrid_ros.networks import DenseHybrid, SegmentationNetwork

SIZE = (32, 48)


class TinyNetwork(SegmentationNetwork):
    """Two convolutions to stride 4, the second with batch normalisation in front."""

    prelogit_channels = 8
    input_stride = 4

    def __init__(self, num_classes: int = 5) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.norm = nn.BatchNorm2d(8)
        self.classifier = nn.Conv2d(8, num_classes, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns pre-logits and logits."""
        features = torch.relu(self.norm(self.stem(images)))
        return features, self.classifier(features)


def noise(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Returns a frame of random bytes, uint8 [H, W, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def in_floats(image: np.ndarray) -> Tensor:
    """Returns what a network sees of a whole frame: float32 [1, 3, H, W] in 0..1."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def tiny_model(seed: int = 3) -> DenseHybrid:
    """Returns the network with weights large enough that classes and scores differ."""
    torch.manual_seed(seed)
    model = DenseHybrid(TinyNetwork()).eval()
    for parameter in model.parameters():
        parameter.data *= 3
    return model


def overflowing_model() -> DenseHybrid:
    """Returns one whose logits are finite on a black frame alone."""
    model = tiny_model()
    model.network.stem.bias.data.zero_()
    model.network.norm.bias.data.zero_()
    model.network.classifier.weight.data.fill_(3e38)
    model.network.stem.weight.data.abs_()
    return model


@contextmanager
def loadable() -> Iterator[None]:
    """Skips where torch can't load the engines of AOTInductor that it compiled, which the build found."""
    try:
        yield
    except InputError as error:
        if "ends with SIG" not in str(error):
            raise
        import pytest

        pytest.skip(str(error))


def main() -> None:
    """Takes the options of ``densehybrid compile``; in place of compiling it copies the engine file ``--model``.

    A file DIR/wait makes it print ``waiting`` and sleep when the engine is written, DIR/slow makes it take some time.
    """
    from densehybrid_ros.inference.engine_cache import EngineCache
    from densehybrid_ros.inference.engines import EngineSpec

    parser = argparse.ArgumentParser()
    for name in ("--model", "--size", "--precision", "--backend", "--device", "--cache"):
        parser.add_argument(name)
    args = parser.parse_args()
    directory = Path(args.cache)
    cache = EngineCache(tiny_model(), "tiny", torch.device("cpu"), directory)

    def make(path: Path) -> dict[str, float]:
        print("compiling", flush=True)
        shutil.copy(args.model, path)
        if (directory / "slow").exists():
            time.sleep(1)
        if (directory / "wait").exists():
            print("waiting", flush=True)  # the file is written, and not yet an entry
            time.sleep(600)
        return {"score_error_mean": 0.0, "score_error_max": 0.0}

    if not Path(args.model).exists():
        print("this build is broken")
        sys.exit(2)
    width, height = map(int, args.size.split("x"))
    cache.files.build(cache.key(EngineSpec("inductor", (height, width), "fp32")), ".pt2", make)


if __name__ == "__main__":
    main()
