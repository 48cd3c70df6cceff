"""The real server against thousands of requests made from its own document, valid and not.

``make fuzz`` runs it with 8,000 requests and more; among the other tests it is a short look.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shared.settings import Settings
from shared.tenants.api_keys import KeyRing
from tests.api.serving import serve

#: So many for each operation at most, and in all at least; ``make fuzz`` sets both.
EXAMPLES = os.environ.get("FUZZ_EXAMPLES", "10")
LEAST = int(os.environ.get("FUZZ_LEAST", "500"))


@pytest.mark.e2e
@pytest.mark.timeout(3600)
def test_every_response_to_a_generated_request_is_documented(
    stack_settings: dict[str, Any], settings: Settings, storage: Any, redis: Any, tmp_path: Path
) -> None:
    _, key = KeyRing.connect(settings).create("acme", "fuzz")
    changes = {"max_wait_s": 1, "rate_limit": 0}
    with serve(stack_settings | changes, tmp_path / "log") as server:
        run = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli"),
                *("--config-file", str(Path(__file__).with_name("schemathesis.toml"))),
                *("run", f"{server.url}/openapi.json", "--seed", "20260401"),
                *("--max-examples", EXAMPLES),
            ],
            env={**os.environ, "FUZZ_KEY": key},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    sys.stdout.write(run.stdout[-4000:])
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr
    assert "Traceback" not in (tmp_path / "log").read_text()
    cases = re.search(r"(\d+) generated, (\d+) passed", run.stdout)
    assert cases is not None
    assert int(cases[1]) == int(cases[2]) >= LEAST
