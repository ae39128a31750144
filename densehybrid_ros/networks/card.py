# SPDX-License-Identifier: Apache-2.0
"""Model cards: the YAML file beside every weights file that says what the weights are."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from densehybrid_ros.confidence import REGION_FEATURES, Confidence, RegionClassifier
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, SemanticClass
from densehybrid_ros.errors import InputError, first_line
from densehybrid_ros.files import write_text_atomically

_SCORES = (-1000.0, 1000.0)  # nats; the span of parameter anomaly_threshold
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
        _card(content)
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
        raise InputError(f"{path}: model card is not valid YAML ({first_line(error)})") from error
    try:
        return _card(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _card(content: Any) -> ModelCard:
    whole = _Entry(content, "")
    if "score_level" in whole.mapping():
        raise InputError("score_level: is gone; retrain the model, or delete the entry and run densehybrid calibrate")
    known = {"name", "architecture", "sha256", "input", "thresholds", "default_threshold", "confidence"}
    known |= {"regions", "classes"}
    fitted, regions = whole.at("confidence", None), whole.at("regions", None)
    card = ModelCard(
        name=whole.at("name").text(),
        architecture=whole.at("architecture").text(),
        classes=_classes(whole.at("classes")),
        thresholds=_thresholds(whole.at("thresholds", None)),
        default_threshold=whole.at("default_threshold", None).value,
        fitted_confidence=None if fitted.value is None else _confidence(fitted),
        region_classifier=None if regions.value is None else _region_classifier(regions),
        input_size=_input_size(whole.at("input")),
        details={key: value for key, value in content.items() if key not in known},
        sha256=whole.at("sha256", None).value,
    )
    if card.default_threshold is not None and card.default_threshold not in list(card.thresholds):
        whole.at("default_threshold").refuse("is not among thresholds")
    if card.sha256 is not None and not (isinstance(card.sha256, str) and _DIGEST.fullmatch(card.sha256)):
        whole.at("sha256").refuse("is no digest of 64 hexadecimal digits, in quotes")
    for key, kind in _DETAILS.items():
        if not isinstance(card.details.get(key, kind()), kind):
            whole.at(key).refuse(f"is no {'list' if kind is list else 'mapping'}")
    return card


def _classes(entry: _Entry) -> tuple[SemanticClass, ...]:
    items = entry.items()
    if not 1 <= len(items) < 255:
        raise InputError(f"classes: are {len(items)}; 1 to 254 are possible")
    found: dict[str, SemanticClass] = {}
    for index, value in enumerate(items):
        item = _Entry(value.value, f"classes[{index}]")
        name = item.at("name")
        if name.text() in found:
            name.refuse("is there twice")
        red, green, blue = (part.whole(0, 255) for part in item.at("color").items(3, "red, green and blue"))
        drivable = item.at("drivable", name.value == _DRIVABLE)
        if not isinstance(drivable.value, bool):
            drivable.refuse("is neither true nor false")
        found[name.value] = SemanticClass(name.value, (red, green, blue), drivable.value)
    return tuple(found.values())


def _thresholds(entry: _Entry) -> dict[str, float]:
    given = {} if entry.value is None else entry.mapping()
    return {_Entry(key, f"name in {entry.name}").text(): value.number(*_SCORES) for key, value in given.items()}


def _confidence(entry: _Entry) -> Confidence:
    return Confidence(entry.at("midpoint").number(*_SCORES), entry.at("scale").number(*_NATS))


def _region_classifier(entry: _Entry) -> RegionClassifier:
    features = entry.at("features")
    for key in features.mapping():
        if key not in REGION_FEATURES:
            raise InputError(f"{features.name}.{_shown(key)}: is unknown; there are {', '.join(REGION_FEATURES)}")
    found: dict[str, tuple[float, float, float]] = {}
    for key in REGION_FEATURES:
        mean, scale, weight = features.at(key).items(3, "mean, scale and weight")
        scale = _Entry(scale.value, f"{scale.name}, scale")
        found[key] = mean.number(*_SCORES), scale.number(*_NATS), weight.number(*_SCORES)
    floor, bias = (entry.at(key).number(*_SCORES) for key in ("floor", "bias"))
    return RegionClassifier(floor, bias, found)


def _input_size(entry: _Entry) -> tuple[int, int]:
    for key, only in _INPUT.items():
        if entry.at(key, only).value != only:
            entry.at(key).refuse(f"is unknown; there is only {only!r}")
    if "size" in entry.mapping():  # cards of earlier versions have both sides in one entry, the height first
        height, width = entry.at("size").items(2, "height and width")
    else:
        height, width = entry.at("height"), entry.at("width")
    return height.whole(1, _LONGEST_SIDE), width.whole(1, _LONGEST_SIDE)


@dataclass(frozen=True)
class _Entry:
    """A value with its name in the card, such as ``confidence.scale``: it is what is asked for, or refused by name."""

    value: Any
    name: str

    def refuse(self, problem: str) -> NoReturn:
        raise InputError(f"{self.name or 'card'}: {_shown(self.value)} {problem}")

    def mapping(self) -> dict[Any, _Entry]:
        if not isinstance(self.value, dict):
            self.refuse("is no mapping")
        return {key: _Entry(value, self._below(key)) for key, value in self.value.items()}

    def at(self, key: str, *default: Any) -> _Entry:
        """Returns the entry of this name, which must be there where no default is given."""
        found = self.mapping().get(key)
        if found is None and not default:
            raise InputError(f"{self._below(key)}: is missing")
        return found or _Entry(default[0], self._below(key))

    def items(self, count: int | None = None, what: str = "") -> list[_Entry]:
        if not isinstance(self.value, list):
            self.refuse("is no list")
        if count not in (None, len(self.value)):
            self.refuse(f"is no {what}")
        return [_Entry(value, self.name) for value in self.value]

    def text(self) -> str:
        """Returns a text of one line that is not empty."""
        if not isinstance(self.value, str) or not self.value.strip() or not self.value.isprintable():
            self.refuse("is no text of one line")
        return self.value

    def number(self, low: float, high: float) -> float:
        try:
            if isinstance(self.value, bool) or not isinstance(self.value, (int, float, str)):
                raise ValueError
            found = float(self.value)  # YAML takes 1e-3, without a point, for a text
        except (ValueError, OverflowError):
            self.refuse("is no number")
        if not math.isfinite(found):
            raise InputError(f"{self.name}: {found} is not finite")
        if not low <= found <= high:
            raise InputError(f"{self.name}: {found:g} is outside {low:g}..{high:g}")
        return found

    def whole(self, low: int, high: int) -> int:
        found = self.number(low, high)
        if not found.is_integer():
            raise InputError(f"{self.name}: {found:g} is no whole number")
        return int(found)

    def _below(self, key: object) -> str:
        return f"{self.name}.{key}" if self.name else str(key)


def _shown(value: Any) -> str:
    """Writes a value of any kind in a few characters."""
    if isinstance(value, int) and abs(value) > 10**_SHOWN:  # Python refuses to write the largest
        return "a number of many digits"
    written = repr(value)
    return written if len(written) <= _SHOWN else f"{written[:_SHOWN]}..."
