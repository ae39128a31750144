# SPDX-License-Identifier: Apache-2.0
"""Model cards: the YAML file beside every weights file that says what the weights are."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from densehybrid_ros.confidence import REGION_FEATURES, Confidence, RegionClassifier
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, SemanticClass
from densehybrid_ros.errors import InputError
from densehybrid_ros.files import write_text_atomically

_LARGEST_SCORE = 1000.0  # nats; the span of parameter anomaly_threshold
_NATS = (1e-6, 10_000.0)  # widths in nats; narrower ones overflow float32
_LONGEST_SIDE = 16_384
_DIGEST = re.compile("[0-9a-f]{64}")
_INPUT = {"colors": "RGB", "scaling": "value / 255"}
_DRIVABLE = "road"  # is so where a card does not say; no other class is
_SHOWN = 60  # characters of a wrong value
_DETAILS = {"calibration": dict, "figures": dict, "training": list}  # what commands add to


@dataclass
class ModelCard:
    """What a user must know about a set of weights.

    Attributes:
        name: Name of the model, that of its files.
        architecture: Its name, as ``networks.registry.build_network`` takes it.
        sha256: Digest of the weights file; None in a card of an earlier version.
        classes: Names and colours in the order of train ids, and which are drivable; their count is K.
        thresholds: Named anomaly thresholds on the hybrid score (nats). Every name says how it was chosen.
        default_threshold: The name of the one that the node takes.
        fitted_confidence: Calibration of the score (``densehybrid calibrate --by probability``), None if there is none.
        region_classifier: What tells obstacles from false regions (``densehybrid calibrate --by regions``), None if
            there is none.
        input_size: (height, width) in pixels at which the figures were measured; other sizes work as well.
        details: Everything for people: data, terms, training, figures with their commands. Kept as written.
    """

    name: str
    architecture: str
    classes: tuple[SemanticClass, ...] = CITYSCAPES_CLASSES
    thresholds: dict[str, float] = field(default_factory=dict)
    default_threshold: str | None = None
    fitted_confidence: Confidence | None = None
    region_classifier: RegionClassifier | None = None
    input_size: tuple[int, int] = (1024, 2048)
    details: dict[str, Any] = field(default_factory=dict)
    sha256: str | None = None

    @property
    def num_classes(self) -> int:
        """Number of closed-set classes K; K is also the id of "unknown" in the open-set mask."""
        return len(self.classes)

    def threshold(self, name: float | str | None = None) -> float:
        """Returns a named threshold, the default one for None or "default", and a number as it is.

        Raises:
            InputError: The card has no such threshold.
        """
        if isinstance(name, (int, float)):
            return float(name)
        if not name or (name == "default" and name not in self.thresholds):
            name = self.default_threshold
        known = ", ".join(self.thresholds) or "none"
        if name is None:
            raise InputError(
                f"model {self.name}: no default threshold in its card; run densehybrid calibrate --default on it, or "
                f"give a threshold (named ones: {known})"
            )
        if name not in self.thresholds:
            raise InputError(f"model {self.name}: no threshold {name!r} in its card; it has: {known}")
        return self.thresholds[name]

    @property
    def confidence(self) -> Confidence:
        """The fitted calibration; without one, odds that change by one a nat, even at the default threshold."""
        if self.fitted_confidence is not None:
            return self.fitted_confidence
        return Confidence(self.thresholds.get(self.default_threshold or "", 0.0), 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain types in the order in which the file shows them."""
        height, width = self.input_size
        fitted = self.fitted_confidence
        confidence = {"confidence": {"midpoint": fitted.midpoint, "scale": fitted.scale}} if fitted else {}
        regions = {}
        if item := self.region_classifier:
            features = {name: list(numbers) for name, numbers in item.features.items()}
            regions = {"regions": {"floor": item.floor, "bias": item.bias, "features": features}}
        return {
            "name": self.name,
            "architecture": self.architecture,
            **({"sha256": self.sha256} if self.sha256 else {}),
            "input": {"width": width, "height": height, **_INPUT},
            "thresholds": dict(self.thresholds),
            "default_threshold": self.default_threshold,
            **confidence,
            **regions,
            **self.details,
            "classes": [_class_entry(item) for item in self.classes],
        }


def _class_entry(item: SemanticClass) -> dict[str, Any]:
    drivable = {} if item.drivable == (item.name == _DRIVABLE) else {"drivable": item.drivable}
    return {"name": item.name, "color": list(item.color), **drivable}


class _Dumper(yaml.SafeDumper):
    """Short lists of numbers stay on one line."""


def _represent_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    flat = all(isinstance(item, (int, float)) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flat)


_Dumper.add_representer(list, _represent_list)


def card_text(path: Path, card: ModelCard) -> str:
    """Returns the card as YAML, to be written to ``path``.

    Raises:
        InputError: ``read_card`` would refuse it.
    """
    content = card.to_dict()
    try:
        _card(Entries(content))
    except InputError as error:
        raise InputError(f"{path}: not written, {error}") from error
    text: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def write_card(path: Path, card: ModelCard) -> None:
    """Writes the card as YAML, whole or not at all.

    Raises:
        InputError: ``read_card`` would refuse it, or it can't be written.
    """
    write_text_atomically(path, card_text(path, card))


def read_card(path: Path) -> ModelCard:
    """Reads a card.

    Raises:
        InputError: The file is missing, not YAML, or lacks or garbles an entry that is used; the message names both.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: model card can't be read ({error.strerror})") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date or number that is none
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: model card is not valid YAML ({line})") from error
    try:
        return _card(Entries(content))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _card(content: Entries) -> ModelCard:
    if "score_level" in content.values:
        raise InputError("score_level: is gone; retrain the model, or delete the entry and run densehybrid calibrate")
    known = {"name", "architecture", "sha256", "input", "thresholds", "default_threshold", "confidence"}
    known |= {"regions", "classes"}
    thresholds, fitted, regions = (content.block(key) for key in ("thresholds", "confidence", "regions"))
    card = ModelCard(
        name=content.text("name"),
        architecture=content.text("architecture"),
        classes=_classes(content.needed("classes")),
        thresholds=_thresholds(thresholds) if thresholds else {},
        default_threshold=content.values.get("default_threshold"),
        fitted_confidence=_confidence(fitted) if fitted else None,
        region_classifier=_region_classifier(regions) if regions else None,
        input_size=_input_size(Entries(content.needed("input"), "input")),
        details={key: value for key, value in content.values.items() if key not in known},
        sha256=content.values.get("sha256"),
    )
    if card.default_threshold is not None and card.default_threshold not in list(card.thresholds):
        raise InputError(f"default_threshold: {_shown(card.default_threshold)} is not among thresholds")
    if card.sha256 is not None and not (isinstance(card.sha256, str) and _DIGEST.fullmatch(card.sha256)):
        raise InputError(f"sha256: {_shown(card.sha256)} is no digest of 64 hexadecimal digits, in quotes")
    for key, kind in _DETAILS.items():
        if not isinstance(card.details.get(key, kind()), kind):
            raise InputError(f"{key}: {_shown(card.details[key])} is no {'list' if kind is list else 'mapping'}")
    return card


def _classes(values: Any) -> tuple[SemanticClass, ...]:
    entries = [Entries(value, f"classes[{index}]") for index, value in enumerate(_items(values, "classes"))]
    if not 1 <= len(entries) < 255:
        raise InputError(f"classes: are {len(entries)}; 1 to 254 are possible")
    found: dict[str, SemanticClass] = {}
    for entry in entries:
        name, color = entry.text("name"), _items(entry.needed("color"), entry.name("color"))
        if name in found:
            raise InputError(f"{entry.name('name')}: {_shown(name)} is there twice")
        if len(color) != 3:
            raise InputError(f"{entry.name('color')}: {_shown(color)} is no red, green and blue")
        red, green, blue = (_whole(value, entry.name("color"), 0, 255) for value in color)
        drivable = entry.values.get("drivable", name == _DRIVABLE)
        if not isinstance(drivable, bool):
            raise InputError(f"{entry.name('drivable')}: {_shown(drivable)} is neither true nor false")
        found[name] = SemanticClass(name, (red, green, blue), drivable)
    return tuple(found.values())


def _thresholds(values: Entries) -> dict[str, float]:
    return {
        _text(key, f"name in {values.where}"): _number(value, values.name(key), -_LARGEST_SCORE, _LARGEST_SCORE)
        for key, value in values.values.items()
    }


def _confidence(values: Entries) -> Confidence:
    return Confidence(values.number("midpoint", -_LARGEST_SCORE, _LARGEST_SCORE), values.number("scale", *_NATS))


def _region_classifier(values: Entries) -> RegionClassifier:
    features = Entries(values.needed("features"), values.name("features"))
    unknown = [key for key in features.values if key not in REGION_FEATURES]
    if unknown:
        raise InputError(f"{features.name(_shown(unknown[0]))}: is unknown; there are {', '.join(REGION_FEATURES)}")
    found: dict[str, tuple[float, float, float]] = {}
    for key in REGION_FEATURES:
        name, numbers = features.name(key), _items(features.needed(key), features.name(key))
        if len(numbers) != 3:
            raise InputError(f"{name}: {_shown(numbers)} is no mean, scale and weight")
        mean, weight = (_number(value, name, -_LARGEST_SCORE, _LARGEST_SCORE) for value in numbers[::2])
        found[key] = mean, _number(numbers[1], f"{name}, scale", *_NATS), weight
    floor, bias = (values.number(key, -_LARGEST_SCORE, _LARGEST_SCORE) for key in ("floor", "bias"))
    return RegionClassifier(floor, bias, found)


def _input_size(values: Entries) -> tuple[int, int]:
    for key, only in _INPUT.items():
        if values.values.get(key, only) != only:
            raise InputError(f"{values.name(key)}: {_shown(values.values[key])} is unknown; there is only {only!r}")
    if "size" in values.values:  # cards of earlier versions have both sides in one entry, the height first
        sides = _items(values.values["size"], values.name("size"))
        if len(sides) != 2:
            raise InputError(f"{values.name('size')}: {_shown(sides)} is no height and width")
        height, width = (_whole(side, values.name("size"), 1, _LONGEST_SIDE) for side in sides)
        return height, width
    height, width = (_whole(values.needed(key), values.name(key), 1, _LONGEST_SIDE) for key in ("height", "width"))
    return height, width


class Entries:
    """A mapping within a card: each entry is what it must be, or an ``InputError`` names it with what is wrong.

    Attributes:
        values: The mapping.
        where: Its own name in the card, such as ``confidence``; empty for the card as a whole.
    """

    def __init__(self, values: Any, where: str = "") -> None:
        if not isinstance(values, dict):
            raise InputError(f"{where or 'card'}: {_shown(values)} is no mapping")
        self.values, self.where = values, where

    def name(self, key: object) -> str:
        """Returns the full name of an entry, such as ``confidence.scale``."""
        return f"{self.where}.{key}" if self.where else str(key)

    def needed(self, key: str) -> Any:
        """Returns a value of any kind."""
        if key not in self.values:
            raise InputError(f"{self.name(key)}: is missing")
        return self.values[key]

    def text(self, key: str) -> str:
        """Returns a text of one line that is not empty."""
        return _text(self.needed(key), self.name(key))

    def number(self, key: str, low: float, high: float) -> float:
        """Returns a number within ``low..high``."""
        return _number(self.needed(key), self.name(key), low, high)

    def block(self, key: str) -> Entries | None:
        """Returns the mapping of this name; None where there is none, or null."""
        value = self.values.get(key)
        return None if value is None else Entries(value, self.name(key))


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise InputError(f"{name}: {_shown(value)} is no text of one line")
    return value


def _number(value: Any, name: str, low: float, high: float) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError
        found = float(value)  # YAML takes 1e-3, without a point, for a text
    except (ValueError, OverflowError):
        raise InputError(f"{name}: {_shown(value)} is no number") from None
    if not math.isfinite(found):
        raise InputError(f"{name}: {found} is not finite")
    if not low <= found <= high:
        raise InputError(f"{name}: {found:g} is outside {low:g}..{high:g}")
    return found


def _whole(value: Any, name: str, low: int, high: int) -> int:
    found = _number(value, name, low, high)
    if not found.is_integer():
        raise InputError(f"{name}: {found:g} is no whole number")
    return int(found)


def _items(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{name}: {_shown(value)} is no list")
    return value


def _shown(value: Any) -> str:
    """Writes a value of any kind in a few characters."""
    if isinstance(value, int) and abs(value) > 10**_SHOWN:  # Python refuses to write the largest
        return "a number of many digits"
    written = repr(value)
    return written if len(written) <= _SHOWN else f"{written[:_SHOWN]}..."
