# SPDX-License-Identifier: Apache-2.0
"""The hybrid head on a segmentation network (paper, section 3.2), and any module made one.

Found out from a trial run of such a module are channels, strides and class count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from densehybrid_ros.errors import InputError, first_line
from densehybrid_ros.networks.blocks import BNReLUConv, Normalization
from densehybrid_ros.networks.segmentation_network import SegmentationNetwork, fill_encoder

_TRIAL_SIDES = (64, 128)  # pixels; what does not grow with the input, such as pooled grids, has no stride


class HybridOutput(NamedTuple):
    """What the hybrid model computes per position of its output grid.

    Attributes:
        logits: Closed-set logits s, [B, K, h, w]. Their log-sum-exp is ln p̂(x), equation (4).
        posterior: Two logits of the dataset posterior, [B, 2, h, w]: index 0 inlier, index 1 outlier.
    """

    logits: Tensor
    posterior: Tensor


class DenseHybrid(nn.Module):
    """A segmentation network with the dataset-posterior head g (BN-ReLU-Conv1x1, equation 6) on its pre-logits.

    Args:
        network: A ``SegmentationNetwork``, or any module that maps images [B, 3, H, W] to logits, which is adapted.
        classifier: Of such a module: name of the layer whose input is the pre-logits and whose output is the logits,
            such as ``"classifier.4"``.
        options: Of such a module: the other arguments of ``AdaptedNetwork`` (``mean``, ``std``, ``encoder``,
            ``input_stride``, ``align_corners``).

    Raises:
        InputError: The module has no such layer, or does not run; see ``AdaptedNetwork``.
    """

    def __init__(self, network: nn.Module, classifier: str | None = None, **options: Any) -> None:
        super().__init__()
        name = type(network).__name__
        if isinstance(network, SegmentationNetwork):
            if classifier is not None or options:
                raise InputError(f"{name}: is a SegmentationNetwork; leave {', '.join(['classifier', *options])} out")
        elif classifier is None:
            convolutions = [key for key, part in network.named_modules() if isinstance(part, nn.Conv2d)]
            last = f", such as classifier={convolutions[-1]!r}" if convolutions else ""
            raise InputError(f"{name}: is no SegmentationNetwork; name the layer that gives its logits{last}")
        else:
            network = AdaptedNetwork(network, classifier, **options)
        self.network = network
        self.posterior_head = BNReLUConv(network.prelogit_channels, 2, kernel_size=1, bias=True)

    @property
    def num_classes(self) -> int:
        """Number of closed-set classes K."""
        return self.network.num_classes

    @property
    def align_corners(self) -> bool:
        """How its outputs are to be enlarged: what to pass to ``upsample``."""
        return self.network.align_corners

    @property
    def input_stride(self) -> int:
        """What the sides of its input are to be multiples of."""
        return self.network.input_stride

    def forward(self, images: Tensor) -> HybridOutput:
        """Maps images, float [B, 3, H, W] RGB in 0..1, to low-resolution logits of both heads."""
        prelogits, logits = self.network(images)
        return HybridOutput(logits, self.posterior_head(prelogits))


def upsample(maps: Tensor, size: tuple[int, int], align_corners: bool = False) -> Tensor:
    """Resizes outputs [B, C, h, w] bilinearly to ``size`` (rows, columns), with ``align_corners`` of their model."""
    return torch.nn.functional.interpolate(maps, size=size, mode="bilinear", align_corners=align_corners)


class _Recorder(nn.Module):
    """Stands in the classifier's place and keeps its input and output until they are taken.

    Unlike hooks, compilers and exporters see through it, and drop what the module computes after it.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.seen: tuple[Tensor, Tensor] | None = None

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.layer(features)
        self.seen = (features, logits)
        return logits

    def take(self) -> tuple[Tensor, Tensor] | None:
        seen, self.seen = self.seen, None
        return seen


class AdaptedNetwork(SegmentationNetwork):
    """A module whose classifier's input is the pre-logits; pads its input to its stride and crops its outputs.

    Args:
        module: Maps float [B, 3, H, W] to anything, by way of its classifier, which moves one level down, to
            ``CLASSIFIER.layer``. Weights of its own are to be loaded before.
        classifier: Name of the layer that maps pre-logits [B, C, h, w] to logits [B, K, h, w].
        mean: Of red, green and blue in 0..1, which is taken from the images.
        std: Divides them after that.
        encoder: Name of the part that training may update more slowly and that ImageNet weights go to; None: none.
        input_stride: What the sides of the input are to be multiples of; None: the largest stride of its features.
        align_corners: How its maps are enlarged to the image, see ``SegmentationNetwork``.

    Raises:
        InputError: The module has no such layers, does not run, or its classifier is no such layer.
    """

    _recorder: _Recorder

    def __init__(
        self,
        module: nn.Module,
        classifier: str,
        *,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        encoder: str | None = None,
        input_stride: int | None = None,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        device = next((part.device for part in module.parameters()), None)
        self.normalization = Normalization(mean, std).to(device)
        self.align_corners = align_corners
        self._encoder, self._classifier = encoder, classifier
        for name in filter(None, (classifier, encoder)):
            _part(module, name)
        parent, _, leaf = classifier.rpartition(".")
        recorder = _Recorder(_part(module, classifier))
        setattr(module.get_submodule(parent), leaf, recorder)
        self.module = module
        object.__setattr__(self, "_recorder", recorder)  # a second entry in state_dict else
        self._try(input_stride)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns pre-logits and logits of images of any size."""
        height, width = int(images.shape[2]), int(images.shape[3])
        padding = (-width % self.input_stride, -height % self.input_stride)
        if any(padding):  # with black, as inference does
            images = functional.pad(images, (0, padding[0], 0, padding[1]))
        rows, columns = -(-height // self.output_stride), -(-width // self.output_stride)
        prelogits, logits = self._run(images)
        return prelogits[..., :rows, :columns], logits[..., :rows, :columns]

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Returns the parameters of ``encoder``."""
        return list(self.module.get_submodule(self._encoder).parameters()) if self._encoder else []

    def load_imagenet_encoder(self, path: Path) -> None:
        """Fills ``encoder`` with a state dict that has its keys, with others beside or not."""
        if not self._encoder:
            super().load_imagenet_encoder(path)
        else:
            fill_encoder(self.module.get_submodule(self._encoder), path)

    @property
    def classifier_layer(self) -> str:
        """Name of the last convolution of the classifier."""
        layer = f"module.{self._classifier}.layer"
        found = [name for name, part in self.get_submodule(layer).named_modules() if isinstance(part, nn.Conv2d)]
        if not found:
            raise InputError(f"classifier {self._classifier}: has no convolution")
        return f"{layer}.{found[-1]}".rstrip(".")

    def _run(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.module(self.normalization(images))
        seen = self._recorder.take()
        assert seen is not None  # the trial run has seen it
        return seen

    def _try(self, input_stride: int | None) -> None:
        """Runs the module on small images and takes over what its layers' shapes say."""
        sides = _TRIAL_SIDES if input_stride is None else (input_stride,)
        with trial(self):
            maps = [self._shapes(side) for side in sides]
        (prelogits, logits), shapes = maps[-1][0], [shapes for _, shapes in maps]
        self.prelogit_channels, self.num_classes = int(prelogits.shape[1]), int(logits.shape[1])
        side = sides[-1]
        self.output_stride = max(1, round(side / int(logits.shape[2])))
        grown = [large for small, large in zip(shapes[0], shapes[-1], strict=False) if 2 * small == large]
        found = [side // rows for rows in grown if rows and side % rows == 0]
        self.input_stride = input_stride or max([self.output_stride, *found])

    def _shapes(self, side: int) -> tuple[tuple[Tensor, Tensor], list[int]]:
        """Runs a black square; returns pre-logits and logits, and the number of rows of every layer's output."""
        rows: list[int] = []
        runs: list[None] = []

        def note(part: nn.Module, inputs: Any, output: Any) -> None:
            if part is self._recorder:
                runs.append(None)
            if isinstance(output, Tensor) and output.ndim == 4:
                rows.append(int(output.shape[2]))

        hooks = [part.register_forward_hook(note) for part in self.module.modules()]
        what = f"classifier {self._classifier}"
        images = torch.zeros(1, 3, side, side, device=self.normalization.mean.device)
        try:
            self.module(self.normalization(images))
        except Exception as error:
            text = f"does not run on images of {side}x{side} ({first_line(error)}); give input_stride"
            raise InputError(f"{type(self.module).__name__}: {text}") from error
        finally:
            for hook in hooks:
                hook.remove()
            seen = self._recorder.take()
        if len(runs) != 1 or seen is None:
            raise InputError(f"{what}: runs {len(runs)} times a pass; name the layer that gives the logits, once")
        shapes = " to ".join(str(tuple(part.shape)) if isinstance(part, Tensor) else "no tensor" for part in seen)
        if not all(isinstance(part, Tensor) and part.ndim == 4 for part in seen):
            raise InputError(f"{what}: maps {shapes}, not [B, C, h, w] to [B, K, h, w]")
        if seen[0].shape[2:] != seen[1].shape[2:]:
            raise InputError(f"{what}: maps {shapes}; name the layer before the maps are enlarged")
        return seen, rows


def _part(module: nn.Module, name: str) -> nn.Module:
    try:
        return module.get_submodule(name)
    except AttributeError as error:
        known = ", ".join(key for key, _ in module.named_children())
        raise InputError(f"{type(module).__name__}: has no layer {name!r}; it has {known}") from error


@contextmanager
def trial(module: nn.Module) -> Iterator[None]:
    """Switches to evaluation without gradients, and each part back to how it was."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, training in modes:
            part.training = training
