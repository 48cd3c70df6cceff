"""What the ledger of faces can say is what docs/http-api.md explains."""

from __future__ import annotations

import re
from pathlib import Path

from worker.engine.faces import skip_reasons as reasons
from worker.engine.faces.skip_reasons import FAILED, SKIPPED

ROOT = Path(__file__).resolve().parents[4]


def test_every_reason_is_documented_with_its_status() -> None:
    text = (ROOT / "docs" / "http-api.md").read_text()
    _, _, below = text.partition("### Why a face was not restored")
    section = below.partition("\n## ")[0]
    rows = set(re.findall(r"^\| `([a-z-]+)` \| `([a-z]+)` \|", section, re.MULTILINE))
    assert rows == {(one, "skipped") for one in SKIPPED} | {(one, "failed") for one in FAILED}


def test_every_reason_belongs_to_one_status_and_is_said_somewhere() -> None:
    assert not SKIPPED & FAILED
    engine = ROOT / "worker" / "engine"
    code = "".join(path.read_text() for path in engine.rglob("*.py") if path.stem != "skip_reasons")
    for name in (name for name in vars(reasons) if name.isupper() and name != "OUT_OF_MEMORY"):
        assert name in {"SKIPPED", "FAILED"} or re.search(rf"\b{name}\b", code), name
