"""The documentation as a site: drawings are drawn, and nothing comes from other hosts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT

_LOADED = re.compile(r'<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)="(https?:[^"]+)"')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    subprocess.run(argv, cwd=ROOT, env={"NO_MKDOCS_2_WARNING": "1"}, check=True)
    return folder


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert pages
    assert {url for page in pages for url in _LOADED.findall(page.read_text())} == set()


def test_no_picture_loads_anything_from_another_host(site: Path) -> None:
    pictures = list((site / "images").glob("*.svg"))
    assert pictures
    assert [path.name for path in pictures if re.search(r"url\(.?http", path.read_text())] == []


def test_no_drawing_is_shown_as_code() -> None:
    """The theme draws Mermaid only with a script of another host, so drawings are pictures."""
    pages = list(DOCS.rglob("*.md"))
    assert pages
    assert [page.name for page in pages if "```mermaid" in page.read_text()] == []
