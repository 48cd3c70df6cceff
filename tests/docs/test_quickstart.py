"""docs/quickstart.md: its commands run as they stand, in one shell, in a checkout."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
#: Of a checkout, what the commands need; the copy is where they write.
_NEEDED = (".venv", "api", "client", "deploy", "docs", "shared", "worker", "pyproject.toml")


def test_the_ten_commands_lead_to_a_verified_webhook(tmp_path: Path) -> None:
    commands = blocks("quickstart.md", "sh")
    assert len(commands) == 10
    for name in _NEEDED:
        (tmp_path / name).symlink_to(ROOT / name)
    setup, *others = commands
    assert setup == "make setup\n", "this environment is made by it"
    script = "".join(["set -e\ntrap 'kill $(jobs -p); wait' EXIT\n", *others])
    environment = {name: value for name, value in os.environ.items() if "FACEMEND" not in name}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    assert '"ready":true' in done.stdout
    assert '"status": "restored"' in done.stdout
    assert (tmp_path / "restored.png").read_bytes().startswith(b"\x89PNG")
    assert "verified restoration.succeeded job_" in done.stdout
