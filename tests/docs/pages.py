"""Code blocks of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a language, in order."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", (DOCS / page).read_text())


def example(page: str, name: str) -> str:
    """Return the Python block that begins with ``# example: NAME``."""
    (found,) = [code for code in blocks(page, "python") if code.startswith(f"# example: {name}\n")]
    return found
