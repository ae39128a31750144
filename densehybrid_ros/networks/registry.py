# SPDX-License-Identifier: Apache-2.0
"""Architectures by name: the project's own, those of other libraries, and what users register."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

from torch import nn

from densehybrid_ros.errors import InputError, kind_and_line
from densehybrid_ros.networks.base import DenseHybrid
from densehybrid_ros.networks.ladder_densenet import LadderDenseNet121
from densehybrid_ros.networks.libraries import LIBRARIES
from densehybrid_ros.networks.light import LightNetwork
from densehybrid_ros.networks.segmentation_network import SegmentationNetwork

Build = Callable[[int], nn.Module]
"""From the number of classes to a ``SegmentationNetwork``, or to a ``DenseHybrid``, whose network is taken."""

ENTRY_POINTS = "densehybrid_ros.networks"
"""Group of entry points, by which an installed package adds architectures: name -> ``Build``."""

ARCHITECTURES: dict[str, Callable[[int], SegmentationNetwork]] = {"ldn121": LadderDenseNet121, "light": LightNetwork}
"""The project's own: architecture name -> constructor that takes the number of classes."""

_registered: dict[str, Build] = {}


def register_network(name: str, build: Build) -> None:
    """Adds an architecture for this process; a package adds one for every process by an entry point.

    ``name`` is what the card's ``architecture`` says; one that was registered before is replaced.

    Raises:
        InputError: The name is empty, or that of another kind of architecture.
    """
    if not name or name in ARCHITECTURES or name.partition(":")[0] in LIBRARIES:
        raise InputError(f"architecture {name!r}: is taken or empty; register another name")
    _registered[name] = build


def architecture_names() -> list[str]:
    """Returns the names of all architectures but those of other libraries."""
    return [*ARCHITECTURES, *sorted({*_registered, *entry_points(group=ENTRY_POINTS).names})]


def build_network(architecture: str, num_classes: int) -> SegmentationNetwork:
    """Builds a closed-set network with random weights.

    Raises:
        InputError: There is no such architecture here, or it can't be built for this number of classes.
    """
    library, _, rest = architecture.partition(":")
    if architecture in ARCHITECTURES:
        return ARCHITECTURES[architecture](num_classes)
    if library in LIBRARIES:
        return LIBRARIES[library](rest, num_classes)
    try:
        made = _build(architecture)(num_classes)
    except InputError:
        raise
    except Exception as error:  # whatever the code of others raises
        raise InputError(
            f"architecture {architecture!r}: can't be built for {num_classes} classes ({kind_and_line(error)})"
        ) from error
    network = made.network if isinstance(made, DenseHybrid) else made
    if not isinstance(network, SegmentationNetwork):
        kind = type(made).__name__
        raise InputError(f"architecture {architecture!r}: its build returns {kind}; return DenseHybrid({kind}, ...)")
    if network.num_classes != num_classes:
        raise InputError(
            f"architecture {architecture!r}: has {network.num_classes} classes where {num_classes} are wanted"
        )
    return network


def _build(architecture: str) -> Build:
    if architecture in _registered:
        return _registered[architecture]
    found = list(entry_points(group=ENTRY_POINTS, name=architecture))
    if not found:
        raise InputError(
            f"architecture {architecture!r}: not installed; no package has the entry point {architecture} in the "
            f"group {ENTRY_POINTS}, and it is none of {', '.join(architecture_names())}"
        )
    try:
        build: Build = found[0].load()
    except Exception as error:
        raise InputError(
            f"architecture {architecture!r}: entry point {found[0].value} does not load ({kind_and_line(error)})"
        ) from error
    return build
