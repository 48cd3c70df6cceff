from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from shared.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "operations.md").read_text()
ROW = re.compile(r"(?m)^\| `FACEMEND_(\w+)` \| (.*?) \| (.+) \|$")
DOCUMENTED = {name.lower(): default.strip("`") for name, default, _ in ROW.findall(TEXT)}


def as_documented(default: Any) -> str:
    """Return the default of a setting as the document writes it."""
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if default == {} or default in {"", ()}:
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
    assert DOCUMENTED.get(name) == as_documented(Settings.model_fields[name].default)


def test_each_documented_setting_exists() -> None:
    assert not DOCUMENTED.keys() - Settings.model_fields.keys()


@pytest.mark.parametrize("message", sorted(set(re.findall(r"log says `([^`]+)`", TEXT))))
def test_each_log_message_of_the_document_is_in_the_code(message: str) -> None:
    """``…`` stands for a value of the message."""
    code = "\n".join(
        path.read_text()
        for folder in ("shared", "worker")
        for path in (ROOT / folder).rglob("*.py")
    )
    parts = [re.escape(part.strip()) for part in message.split("…")]
    assert re.search(r'"[^"\n]*' + r"[^\n]*".join(parts), code)
