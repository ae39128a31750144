# SPDX-License-Identifier: Apache-2.0
"""Published weights files into models of this project: the authors', NVIDIA's and torchvision's.

Names and shapes of layers are facts of the files; each table, our module name -> theirs, says whose.
"""

from __future__ import annotations

import errno
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from densehybrid_ros.errors import InputError, name_some
from densehybrid_ros.networks import DenseHybrid, build_network

_BOOKKEEPING = "num_batches_tracked"  # a counter of training, which old files lack
_DATA_PARALLEL = "module."
_REFUSED = re.compile(r"GLOBAL (\S+)")  # in torch's message
_DENSE_BLOCKS = (6, 12, 24, 16)
_WIDE_BLOCKS = (3, 3, 6, 3, 1, 1)
_TWO, _THREE = ("conv1", "bn2.0", "", "conv2"), ("conv1", "bn2.0", "", "conv2", "bn3.0", "", "", "conv3")
_WIDE_LAYERS = (*(_TWO,) * 4, *(_THREE,) * 2)  # of a block by its stage; without a name: ReLU and dropout
_NORM_RELU_CONV = ("norm", "conv")


def densenet121_names(prefix: str) -> dict[str, str]:
    """The encoder of the ladder DenseNet in files whose names are torchvision's ``densenet121`` after ``prefix``."""
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
            for position, layer in enumerate(_WIDE_LAYERS[stage]):
                if layer:
                    names[f"{ours}.layers.{position}"] = f"{theirs}.convs.{layer}"
            if block == 0:  # the width changes
                names[f"{ours}.projection"] = f"{theirs}.proj_conv"
    for part in (0, 1):  # convolution, norm
        names[f"pyramid.mean.{part}"] = f"aspp.img_conv.{part}"
        for branch in range(4):
            names[f"pyramid.branches.{branch}.{part}"] = f"aspp.features.{branch}.{part}"
    names |= {"reduce_fine": "bot_fine", "reduce_pyramid": "bot_aspp"}
    names |= {f"classifier.norm.{part}": f"final.{part}" for part in (0, 1, 3, 4)}
    names["classifier.conv"] = "final.6"
    return names


_POSTERIOR_NAMES = {f"posterior_head.{part}": f"logits_ood.{part}" for part in _NORM_RELU_CONV}
"""The dataset-posterior head in the authors' files; a closed-set file lacks it."""


class WeightsFormat(NamedTuple):
    """How a kind of published file is read."""

    architecture: str  # What it becomes
    description: str  # Whose file it is
    names: Callable[[], dict[str, str]]  # Our module names within the network -> theirs
    # Their name of the weight whose first dimension is the number of classes; None for an encoder
    classifier: str | None
    unused: re.Pattern[str] = re.compile(r"(?!)")  # Keys of theirs that have no place here
    # Pattern and replacement that turn older spellings of their keys into the ones in ``names``
    renamed: tuple[re.Pattern[str], str] | None = None


FORMATS: dict[str, WeightsFormat] = {
    "authors_ldn121": WeightsFormat(
        "ldn121",
        "the authors' LDN-121, closed-set or with their dataset-posterior head",
        ladder_densenet_names,
        "logits.conv.weight",
        unused=re.compile(r"upsample\.upsample_layers\.upsample_\d\.logits_aux\."),
    ),
    "nvidia_deeplab": WeightsFormat(
        "deeplab_wrn38",
        "NVIDIA's DeepLabV3+ on WideResNet-38, or the authors' fine-tuned one with the dataset-posterior head",
        deeplab_wrn38_names,
        "final.6.weight",
    ),
    "torchvision_densenet121": WeightsFormat(
        "ldn121",
        "torchvision's densenet121 (ImageNet): the encoder alone",
        lambda: densenet121_names("features."),
        None,
        unused=re.compile(r"(features\.norm5|classifier)\."),
        renamed=(re.compile(r"(denselayer\d+\.)(norm|conv)\.([12])\."), r"\1\2\3."),
    ),
}
"""Name -> format."""


class _Aside:
    """Stands in for a value beside the weights, which is not needed: neither made nor read."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


_HARMLESS_NAMES = (
    *("argparse.Namespace", "types.SimpleNamespace", "numpy.dtype", "numpy.ndarray", "datetime.datetime"),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(f"builtins.{kind}" for kind in ("list", "dict", "tuple", "frozenset", "int", "float", "str", "bool")),
    *(f"pathlib.{kind}Path" for kind in ("Posix", "PurePosix", "Windows", "PureWindows")),
    *(f"pathlib._local.{kind}Path" for kind in ("Posix", "PurePosix", "Windows", "PureWindows")),  # of Python 3.13
)
_HARMLESS: list[Any] = [
    *((type(name.rpartition(".")[2], (_Aside,), {}), name) for name in _HARMLESS_NAMES),
    (lambda *_: {}, "collections.defaultdict"),  # torch adds entries to plain ones alone
    (lambda *_: [], "collections.deque"),
]
"""What checkpoints keep beside weights: options, paths, containers, dates, figures and arrays of NumPy. None of these
is built: a crafted file can crash NumPy's own readers."""


class ImportedModel(NamedTuple):
    """A model with published weights, in evaluation mode, float32.

    ``stage`` says what has been trained, the rest being random: ``open_set`` (all), ``closed_set`` (all but the
    posterior head) or ``encoder``.
    """

    network: DenseHybrid
    architecture: str
    num_classes: int
    stage: str


def count_classes(format_name: str, state: Mapping[str, Tensor]) -> int | None:
    """Returns the number of classes K of a file's classifier; None where the format is an encoder alone."""
    key = FORMATS[format_name].classifier
    return int(state[key].shape[0]) if key is not None and key in state and state[key].ndim > 0 else None


def import_weights(format_name: str, path: Path, num_classes: int, seed: int = 0) -> ImportedModel:
    """Reads a published file, as ``torch.save`` wrote it, into a model of K classes; the rest is random by ``seed``.

    Raises:
        InputError: The file can't be read, or a key is missing, left over or of another shape; the message names it.
    """
    kind = FORMATS[format_name]
    state = read_state(path, format_name)
    found = count_classes(format_name, state)
    if found is not None and found != num_classes:
        raise InputError(f"{path}: its classifier has {found} classes, not {num_classes}; choose other --classes")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DenseHybrid(build_network(kind.architecture, num_classes))
    names = {f"network.{ours}": theirs for ours, theirs in kind.names().items()}
    heads = _POSTERIOR_NAMES if kind.classifier is not None else {}
    if any(key.rpartition(".")[0] in heads.values() for key in state):
        names |= heads
    stage = "encoder" if kind.classifier is None else "open_set" if heads.keys() <= names.keys() else "closed_set"
    _fill(network, state, names, kind.unused, path)
    return ImportedModel(network.eval(), kind.architecture, num_classes, stage)


def read_state(path: Path, format_name: str) -> dict[str, Tensor]:
    """Reads the tensors of a file under the names that the format's table expects, without the counters of batch norms.

    A file may be the state dict itself or hold it as ``state_dict`` beside other things; ``module.`` before all names
    (torch's DataParallel) is taken away.

    Raises:
        InputError: The file is missing, no file of torch.save, holds more than weights and harmless values, or has no
            state dict of the format; the message says what it holds.
    """
    content, kind = _load(path), FORMATS[format_name]
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        held = f"holds no state dict (names to tensors), but {_describe(content)}"
        raise InputError(f"{path}: {held}; is it a {format_name} file?")
    if all(key.startswith(_DATA_PARALLEL) for key in state):
        state = {key.removeprefix(_DATA_PARALLEL): value for key, value in state.items()}
    if kind.renamed is not None:
        state = {kind.renamed[0].sub(kind.renamed[1], key): value for key, value in state.items()}
    if not {key.rpartition(".")[0] for key in state} & set(kind.names().values()):
        held = f"has no key of {format_name}; it holds {_describe(content)}"
        raise InputError(f"{path}: {held}; check --format")
    return {key: value for key, value in state.items() if not key.endswith(_BOOKKEEPING)}


def _load(path: Path) -> Any:
    """Reads what torch.save wrote, as long as it is weights and harmless values; no code of the file runs."""
    try:
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles and archives that are refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything, a cut archive EINVAL
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise InputError(f"{path}: can't be read ({error.strerror or error})") from error
        surplus = _surplus(path, str(error))
        if surplus:
            mend = "where its code is at hand, save its state_dict() alone"
            raise InputError(f"{path}: holds more than weights: {name_some(surplus)}; {mend}") from error
        raise InputError(
            f"{path}: not a weights file of torch.save (with its pickle protocol 2), or a damaged one"
        ) from error


def _surplus(path: Path, message: str) -> list[str]:
    """Names the classes and functions in a file that are neither weights nor harmless."""
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            names = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
    except Exception:  # no archive, as torch wrote none until 1.5, or one with pickles of a newer kind
        names = []
    return sorted(names) or _REFUSED.findall(message)[:1]


def _describe(content: Any) -> str:
    """Says in a few words what a file holds: the entries of a mapping with their kinds."""
    if not isinstance(content, Mapping):
        return f"one {type(content).__name__}"
    return name_some([f"{key} ({type(value).__name__})" for key, value in content.items()]) or "nothing"


def _fill(
    network: DenseHybrid, state: Mapping[str, Tensor], names: Mapping[str, str], unused: re.Pattern[str], path: Path
) -> None:
    """Copies the tensors of every module that ``names`` lists; a key at fault is named."""
    split = ((ours.rpartition("."), tensor) for ours, tensor in network.state_dict().items())
    wanted = {
        f"{names[module]}.{leaf}": tensor
        for (module, _, leaf), tensor in split
        if module in names and leaf != _BOOKKEEPING
    }
    missing = sorted(wanted.keys() - state.keys())
    surplus = sorted(key for key in state.keys() - wanted.keys() if not unused.match(key))
    for keys, fault in ((missing, "lacks"), (surplus, "has the unexpected")):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise InputError(f"{path}: {fault} key {keys[0]}{more}; check --format")
    for key, tensor in wanted.items():
        if state[key].shape != tensor.shape:
            shapes = f"{tuple(state[key].shape)} instead of {tuple(tensor.shape)}"
            raise InputError(f"{path}: {key} has shape {shapes}; check --format")
        tensor.copy_(state[key])
