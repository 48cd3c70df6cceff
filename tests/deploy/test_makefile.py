from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_TEXT = (_ROOT / "Makefile").read_text()


def test_each_target_that_is_promised_can_be_made_and_is_in_the_help() -> None:
    (promised,) = re.findall(r"^\.PHONY: (.*)$", _TEXT, re.MULTILINE)
    explained = re.findall(r"^([a-z0-9-]+):.*## \S", _TEXT, re.MULTILINE)
    assert sorted(promised.split()) == sorted(explained)


def test_each_target_that_the_docs_name_is_there() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", _TEXT, re.MULTILINE))
    pages = [*_ROOT.glob("*.md"), *_ROOT.glob("docs/*.md"), *_ROOT.glob("benchmarks/**/*.py")]
    named = {name for page in pages for name in re.findall(r"`make ([a-z0-9-]+)", page.read_text())}
    assert {"chaos", "bench-service"} <= named
    assert named <= targets
