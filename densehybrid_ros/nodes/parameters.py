"""The one table of the perception node's parameters, and the files that are generated from it.

``Settings`` is the table. The YAML file and the README's table follow from it::

    python -m densehybrid_ros.nodes.parameters --write
"""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path
from typing import Any

from densehybrid_ros.errors import InputError
from densehybrid_ros.files import write_text_atomically
from densehybrid_ros.nodes.parameter import Parameter, rows
from densehybrid_ros.nodes.settings import Settings

TABLE_BEGIN = "<!-- parameters:begin -->"
TABLE_END = "<!-- parameters:end -->"

_LINE_WIDTH = 110

PARAMETERS: dict[str, Parameter] = rows(Settings)
"""Name -> row, in the order of the table."""


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
