from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_TEXT = (_ROOT / "Makefile").read_text()


def test_each_phony_target_has_a_rule_and_a_line_of_help() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", _TEXT, re.MULTILINE)
    explained = re.findall(r"^([a-z0-9-]+):.*## \S", _TEXT, re.MULTILINE)
    assert sorted(phony.split()) == sorted(explained)
