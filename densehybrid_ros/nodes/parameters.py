"""The one table of the perception node's parameters.

``Settings`` is the table: a field is a parameter, its default and its type; ``_parameter`` adds what people and
descriptors need. The YAML file and the README's table are generated from it::

    python -m densehybrid_ros.nodes.parameters --write
"""

from __future__ import annotations

import argparse
import json
import math
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from densehybrid_ros.errors import InputError
from densehybrid_ros.files import write_text_atomically
from densehybrid_ros.hazards.regions import polygon_problem

WHOLE_IMAGE = (0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0)
TABLE_BEGIN = "<!-- parameters:begin -->"
TABLE_END = "<!-- parameters:end -->"

_LARGEST_AREA = 2**31 - 1
_LINE_WIDTH = 110


@dataclass(frozen=True)
class Parameter:
    """One row of the table.

    Attributes:
        name: Name.
        kind: ``bool``, ``int``, ``float``, ``str``, ``int[]`` or ``float[]``.
        default: Default; None where the parameter stays unset until the model is loaded.
        description: One or two sentences.
        group: Heading under which it is listed.
        live: Whether it may change while the node runs; it then counts from the next frame on.
        minimum: Smallest value, or None.
        maximum: Largest value, or None.
        choices: The values that a string may have; empty: any.
        problem: Says what else is wrong with a value, or None.
    """

    name: str
    kind: str
    default: Any
    description: str
    group: str
    live: bool
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    problem: Callable[[Any], str | None] | None = None

    @property
    def constraint(self) -> str:
        """What values are allowed, in words; empty where all of the type are."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.minimum is not None and self.maximum is not None:
            return f"{_plain(self.minimum)} to {_plain(self.maximum)}"
        return ""

    def check(self, value: Any) -> None:
        """Checks type, range and, for some parameters, meaning.

        Raises:
            InputError: The value is not allowed.
        """
        if not _has_kind(value, self.kind):
            raise InputError(f"parameter {self.name}: {value!r} is no {self.kind}")
        if self.choices and value not in self.choices:
            raise InputError(f"parameter {self.name}: {value!r} is not {self.constraint}")
        if self.minimum is not None and self.maximum is not None and not self.minimum <= value <= self.maximum:
            raise InputError(f"parameter {self.name}: {value} is not in {self.constraint}")
        problem = self.problem(value) if self.problem else None
        if problem:
            raise InputError(f"parameter {self.name}: {problem}")

    def coerce(self, value: Any) -> Any:
        """Turns integers into floating-point numbers where the parameter needs those; other values pass unchanged.

        ROS types are strict, so ``anomaly_threshold: 1`` would otherwise be refused where ``1.0`` is meant.
        """
        if self.kind == "float" and _is_integer(value):
            return float(value)
        is_list = isinstance(value, Iterable) and not isinstance(value, (str, bytes))
        if self.kind == "float[]" and is_list and any(_is_integer(item) for item in value):
            return [float(item) if _is_integer(item) else item for item in value]
        return value


def _parameter(
    default: Any,
    description: str,
    *,
    group: str,
    live: bool = False,
    span: tuple[float, float] | None = None,
    choices: tuple[str, ...] = (),
    problem: Callable[[Any], str | None] | None = None,
) -> Any:
    minimum, maximum = span or (None, None)
    row = {
        "description": description,
        "group": group,
        "live": live,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "problem": problem,
    }
    return field(default=default, metadata=row)


def _size_problem(size: Any) -> str | None:
    return None if len(size) == 2 and min(size) >= 0 else f"{list(size)} is no height and width"


def _publish_switch(topic: str) -> Any:
    description = f"Whether ~/output/{topic} is published while somebody subscribes to it."
    return _parameter(True, description, group="Outputs", live=True)


@dataclass(frozen=True)
class Settings:
    """Values of all parameters at one moment. A frame is processed with one such snapshot."""

    autostart: bool = _parameter(
        True,
        "Whether the node configures and activates itself. False: a lifecycle manager does.",
        group="Life cycle",
    )
    model: str = _parameter(
        "light",
        "Weights: a name in models/ (light, ldn121) or the path of a .safetensors file with its card beside it.",
        group="Model",
    )
    backend: str = _parameter(
        "auto",
        "How the network is run. auto takes the fastest that this machine offers.",
        group="Model",
        choices=("auto", "eager", "inductor", "tensorrt"),
    )
    device: str = _parameter("auto", "Where the network runs: auto, cpu, cuda or cuda:N.", group="Model")
    warm_up_size: tuple[int, ...] = _parameter(
        (0, 0),
        "Height and width in pixels of a frame that is run while the node configures, so that compilation does not "
        "fall on the first camera frame. 0, 0: none.",
        group="Model",
        problem=_size_problem,
    )
    input_transport: str = _parameter(
        "raw",
        "What ~/input/image carries: raw is sensor_msgs/Image, compressed is sensor_msgs/CompressedImage (JPEG, PNG).",
        group="Input",
        choices=("raw", "compressed"),
    )
    input_reliability: str = _parameter(
        "best_effort",
        "Reliability of the image subscription. best_effort matches every publisher; reliable loses no frame on the "
        "way but matches reliable publishers only.",
        group="Input",
        choices=("best_effort", "reliable"),
    )
    source_timeout: float = _parameter(
        5.0,
        "Seconds without a frame after which the node warns, naming the publishers and both sides' QoS.",
        group="Input",
        live=True,
        span=(0.1, 3600.0),
    )
    threshold_name: str = _parameter(
        "",
        "Which threshold of the model card is used while anomaly_threshold is not set. Empty: the card's default.",
        group="Hazards",
    )
    anomaly_threshold: float | None = _parameter(
        None,
        "A pixel is unknown where its score (nats) exceeds this. Unset: taken from the model card when the node "
        "configures, and shown here from then on.",
        group="Hazards",
        live=True,
        span=(-1000.0, 1000.0),
    )
    roi: tuple[float, ...] = _parameter(
        WHOLE_IMAGE,
        "Polygon x1, y1, x2, y2, ... inside which unknown regions count as hazards, in fractions of the image's "
        "width and height. The masks are not cut.",
        group="Hazards",
        live=True,
        problem=polygon_problem,
    )
    min_hazard_area: int = _parameter(
        50,
        "Unknown regions of fewer pixels are no hazards.",
        group="Hazards",
        live=True,
        span=(1, _LARGEST_AREA),
    )
    publish_semantic: bool = _publish_switch("semantic")
    publish_anomaly_score: bool = _publish_switch("anomaly_score")
    publish_open_set: bool = _publish_switch("open_set")
    publish_overlay: bool = _publish_switch("overlay")
    publish_hazard_alert: bool = _publish_switch("hazard_alert")
    overlay_opacity: float = _parameter(
        0.5,
        "How strongly class colours cover the picture in the overlay: 0 not at all, 1 fully.",
        group="Outputs",
        live=True,
        span=(0.0, 1.0),
    )


_KINDS = {
    "bool": "bool",
    "int": "int",
    "float": "float",
    "float | None": "float",
    "str": "str",
    "tuple[int, ...]": "int[]",
    "tuple[float, ...]": "float[]",
}


def _rows() -> dict[str, Parameter]:
    rows = {}
    for item in fields(Settings):
        assert item.default is not MISSING
        assert isinstance(item.type, str)  # annotations are strings in this module
        rows[item.name] = Parameter(item.name, _KINDS[item.type], item.default, **item.metadata)
    return rows


PARAMETERS: dict[str, Parameter] = _rows()
"""Name -> row, in the order of the table."""


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _has_kind(value: Any, kind: str) -> bool:
    if kind.endswith("[]"):
        is_list = isinstance(value, Iterable) and not isinstance(value, (str, bytes))
        return is_list and all(_has_kind(item, kind[:-2]) for item in value)
    if kind == "int":
        return _is_integer(value)
    return isinstance(value, {"bool": bool, "float": float, "str": str}[kind])


def _plain(number: float) -> str:
    return str(int(number)) if math.isfinite(number) and float(number).is_integer() else str(number)


def _yaml_value(value: Any) -> str:
    """Writes a value so that YAML and ROS read the same type back; JSON is YAML, and keeps 1.0 a float."""
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _remark(parameter: Parameter) -> str:
    change = "live" if parameter.live else "read-only"
    allowed = f"; {parameter.constraint}" if parameter.constraint else ""
    return f"({parameter.kind}, {change}{allowed})"


def parameter_yaml() -> str:
    """Returns the text of config/perception.param.yaml: every parameter with its default."""
    lines = [
        "# Parameters of the node `perception` with their defaults.",
        "# Generated from densehybrid_ros/nodes/parameters.py: python -m densehybrid_ros.nodes.parameters --write",
        "/**:",
        "  ros__parameters:",
    ]
    group = ""
    for parameter in PARAMETERS.values():
        if parameter.group != group:
            group = parameter.group
            lines += ["", f"    # ---- {group} ----"]
        comment = f"{parameter.description} {_remark(parameter)}"
        lines += textwrap.wrap(comment, _LINE_WIDTH, initial_indent="    # ", subsequent_indent="    # ")
        if parameter.default is None:
            lines.append(f"    # {parameter.name}: 0.0")
        else:
            lines.append(f"    {parameter.name}: {_yaml_value(parameter.default)}")
    return "\n".join(lines) + "\n"


def parameter_table() -> str:
    """Returns the README's table in Markdown, without the markers around it."""
    lines = ["| parameter | type | default | allowed | change | what |", "|---|---|---|---|---|---|"]
    for parameter in PARAMETERS.values():
        default = "unset" if parameter.default is None else f"`{_yaml_value(parameter.default)}`"
        change = "live" if parameter.live else "read-only"
        cells = (
            f"`{parameter.name}`",
            parameter.kind,
            default,
            parameter.constraint,
            change,
            parameter.description,
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def insert_table(readme: str, name: str = "README.md") -> str:
    """Returns ``readme`` with the table between its markers replaced.

    Raises:
        InputError: The markers are missing.
    """
    before, begin, rest = readme.partition(TABLE_BEGIN)
    _, end, after = rest.partition(TABLE_END)
    if not begin or not end:
        raise InputError(f"{name}: needs the lines {TABLE_BEGIN} and {TABLE_END} around the table of parameters")
    return f"{before}{begin}\n{parameter_table()}{end}{after}"


def main(arguments: list[str] | None = None) -> int:
    """Writes the YAML file and the README's table into a source checkout, or prints them."""
    parser = argparse.ArgumentParser(prog="python -m densehybrid_ros.nodes.parameters", description=main.__doc__)
    parser.add_argument("--write", action="store_true", help="write both files; without it they are printed")
    if not parser.parse_args(arguments).write:
        print(parameter_yaml() + "\n" + parameter_table(), end="")
        return 0
    checkout = Path(__file__).resolve().parents[2]
    write_text_atomically(checkout / "config" / "perception.param.yaml", parameter_yaml())
    readme = checkout / "README.md"
    if readme.is_file() and TABLE_BEGIN in readme.read_text(encoding="utf-8"):
        write_text_atomically(readme, insert_table(readme.read_text(encoding="utf-8")))
    else:
        print("README.md: no markers for the table of parameters; only the YAML file was written")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
