# SPDX-License-Identifier: Apache-2.0
"""Hooks of the docs build: README.md is its first page, and links that leave docs/ are names of files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds README.md as ``index.md``, with its links relative to docs/."""
    text = Path(config.config_file_path).with_name("README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=text.replace("](docs/", "](")))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Writes ``[text](../path)`` as the path: what lies outside docs/ is not on the site."""
    return re.sub(r"\[[^\]]+\]\(\.\./([^)]+)\)", r"`\1`", markdown)
