"""Model cards: the YAML file beside every weights file that says what the weights are."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from densehybrid_ros.confidence import Confidence
from densehybrid_ros.datasets.taxonomy import CITYSCAPES_CLASSES, SemanticClass
from densehybrid_ros.errors import InputError
from densehybrid_ros.files import write_text_atomically
from densehybrid_ros.networks.score_level import ScoreLevel


@dataclass
class ModelCard:
    """What a user must know about a set of weights.

    Attributes:
        name: Name of the model, that of its files.
        architecture: Key of ``networks.registry.ARCHITECTURES``.
        classes: Names and colours in the order of train ids; their count is K.
        thresholds: Named anomaly thresholds on the hybrid score (nats). Every name says how it was chosen.
        default_threshold: The name of the one that the node takes.
        score_level: How the score is brought to one level, None if it is not.
        fitted_confidence: Calibration of the score (``densehybrid calibrate --by probability``), None if there is none.
        input_size: (height, width) in pixels at which the figures were measured; other sizes work as well.
        details: Everything for people: data, terms, training, figures with their commands. Kept as written.
    """

    name: str
    architecture: str
    classes: tuple[SemanticClass, ...] = CITYSCAPES_CLASSES
    thresholds: dict[str, float] = field(default_factory=dict)
    default_threshold: str | None = None
    score_level: ScoreLevel | None = None
    fitted_confidence: Confidence | None = None
    input_size: tuple[int, int] = (1024, 2048)
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        """Number of closed-set classes K; K is also the id of "unknown" in the open-set mask."""
        return len(self.classes)

    def threshold(self, name: str | None = None) -> float:
        """Returns a named threshold, or the default one.

        Raises:
            InputError: The card has no such threshold.
        """
        name, known = name or self.default_threshold, ", ".join(self.thresholds) or "none"
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
        level = {"score_level": asdict(self.score_level)} if self.score_level else {}
        return {
            "name": self.name,
            "architecture": self.architecture,
            "input": {"width": width, "height": height, "colors": "RGB", "scaling": "value / 255"},
            **level,
            "thresholds": dict(self.thresholds),
            "default_threshold": self.default_threshold,
            **confidence,
            **self.details,
            "classes": [{"name": item.name, "color": list(item.color)} for item in self.classes],
        }


class _Dumper(yaml.SafeDumper):
    """Short lists of numbers stay on one line."""


def _represent_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    flat = all(isinstance(item, (int, float)) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flat)


_Dumper.add_representer(list, _represent_list)


def card_text(card: ModelCard) -> str:
    """Returns the card as YAML."""
    text: str = yaml.dump(card.to_dict(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def write_card(path: Path, card: ModelCard) -> None:
    """Writes the card as YAML, whole or not at all; OutputError where it can't be written."""
    write_text_atomically(path, card_text(card))


def read_card(path: Path) -> ModelCard:
    """Reads a card.

    Raises:
        InputError: The file is missing, not YAML, or lacks or garbles a needed entry.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: model card can't be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        line = str(error).splitlines()[0]
        raise InputError(f"{path}: model card is not valid YAML ({line})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: model card must be a YAML mapping")
    known = {"name", "architecture", "input", "thresholds", "default_threshold", "confidence", "classes", "score_level"}
    try:
        classes = tuple(SemanticClass(str(item["name"]), _color(item["color"])) for item in content["classes"])
        fitted = content.get("confidence")
        card = ModelCard(
            name=str(content["name"]),
            architecture=str(content["architecture"]),
            classes=classes,
            thresholds={str(key): float(value) for key, value in (content.get("thresholds") or {}).items()},
            default_threshold=content.get("default_threshold"),
            score_level=_score_level(content.get("score_level")),
            fitted_confidence=Confidence(float(fitted["midpoint"]), float(fitted["scale"])) if fitted else None,
            input_size=_input_size(content["input"]),
            details={key: value for key, value in content.items() if key not in known},
        )
    except KeyError as error:
        raise InputError(f"{path}: model card lacks the entry {error}") from error
    except InputError as error:
        raise InputError(f"{path}: model card: {error}") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: model card has a malformed entry ({error})") from error
    if not 1 <= card.num_classes < 255:
        raise InputError(f"{path}: model card lists {card.num_classes} classes; 1 to 254 are possible")
    return card


def _input_size(values: dict[str, Any]) -> tuple[int, int]:
    # Cards of earlier versions have both sides in one entry, the height first.
    height, width = (int(side) for side in values.get("size") or (values["height"], values["width"]))
    if min(height, width) < 1:
        raise ValueError(f"input of {width}x{height} pixels")
    return height, width


def _score_level(values: Any) -> ScoreLevel | None:
    if values is None:
        return None
    kinds = {"share": float, "reach": int, "midpoint": float, "softness": float, "frame": float}
    return ScoreLevel(**{name: kind(values[name]) for name, kind in kinds.items()})


def _color(values: Any) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in values)
    if not all(0 <= value <= 255 for value in (red, green, blue)):
        raise ValueError(f"colour {values} outside 0..255")
    return red, green, blue
