from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from shared.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"(?m)^\| `FACEMEND_(\w+)` \| (.*?) \| (.+) \|$")
DOCUMENTED = {
    name.lower(): default.strip("`")
    for name, default, _ in ROW.findall((ROOT / "docs" / "operations.md").read_text())
}


def in_words(default: Any) -> str:
    """How the document writes the default of a setting."""
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if default in {"", ()}:
        return "empty"
    if default is None:
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default:g}" if default < 1e4 else str(int(default))
    return str(default).replace(str(Path.home()), "~")


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_setting_is_documented_with_its_default(name: str) -> None:
    assert DOCUMENTED.get(name) == in_words(Settings.model_fields[name].default)


def test_no_setting_is_documented_that_is_not_there() -> None:
    assert not DOCUMENTED.keys() - Settings.model_fields.keys()
