# SPDX-License-Identifier: Apache-2.0
"""The pages for readers: links, names of files, lengths, and the site that `make docs` builds."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = sorted((REPOSITORY / "docs").glob("*.md"))
PAGES = [REPOSITORY / "README.md", *DOCS, *sorted((REPOSITORY / "tools").rglob("*.md"))]
MOST_LINES = {"README.md": 150, "docs/results.md": 150, "docs/development.md": 90}
OLD_NAMES = ("benchmarks.md", "training_log.md", "results_before.md")
"""Pages that say what was measured, or tried, with what may be gone."""
PLACES = (REPOSITORY, REPOSITORY / "densehybrid_ros")
"""What the names of files in the text are relative to."""


def name_of(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors of its headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.lower())) for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = link.partition("#")
        if not re.match(r"\w+:", link):
            target = page.parent / path if path else page
            if not target.is_file() or (anchor and anchor not in anchors(target)):
                broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in OLD_NAMES], ids=name_of)
def test_modules_that_a_page_names_exist(page: Path) -> None:
    names = re.findall(r"`([\w./-]+/[\w.-]+\.(?:py|cpp|yaml|xml|md))`", prose(page))
    names = [name for name in names if name.split("/")[0] not in ("frames", "runs")]  # the reader's own
    missing = [name for name in names if not any((place / name).is_file() for place in PLACES)]
    assert not missing


@pytest.mark.parametrize("page", [REPOSITORY / "README.md", *DOCS], ids=name_of)
def test_lines_are_short_and_pages_too(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if len(line) > 120 and not line.startswith(("|", "!["))]
    assert len(lines) <= MOST_LINES.get(name_of(page), len(lines))


@pytest.mark.parametrize("page", DOCS, ids=name_of)
def test_lists_begin_after_an_empty_line(page: Path) -> None:
    """GitHub makes a list of others too, mkdocs does not."""
    assert not re.findall(r"^(?![-*\d ]|$).*\n(?:- |\d\. ).*", prose(page), re.MULTILINE)


def test_the_navigation_has_every_page() -> None:
    configuration = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))
    quick_start, *pages = configuration["nav"]
    assert quick_start == {"Quick start": "index.md"}
    assert sorted(pages) == [page.name for page in DOCS]


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="mkdocs is not installed: make docs")
def test_the_site_builds_without_a_warning_and_without_a_network(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "make demo" in (tmp_path / "index.html").read_text(encoding="utf-8")
    loaded = r"<(?:script|img)[^>]* src=\"https?:|<link[^>]* href=\"https?:"
    assert not [page.name for page in tmp_path.glob("*.html") if re.search(loaded, page.read_text(encoding="utf-8"))]
