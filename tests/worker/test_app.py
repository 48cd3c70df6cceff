"""The worker's command line: messages and exit codes if it cannot start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shared.errors import SettingsInvalid
from tests.worker.engine_process import restorers
from worker.app import EXIT_CANNOT_START, address_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(stack_settings: dict[str, Any], tmp_path: Path) -> Any:
    def run(**changes: Any) -> subprocess.CompletedProcess[str]:
        settings = {**stack_settings, "models_dir": tmp_path, **changes}
        env = {f"FACEMEND_{name.upper()}": str(value) for name, value in settings.items()}
        return subprocess.run(
            [sys.executable, "-m", "worker.app"],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env},
            capture_output=True,
            text=True,
            timeout=90,
            cwd=tmp_path,
            check=False,
        )

    return run


@pytest.mark.usefixtures("redis", "storage")
def test_a_weights_file_with_one_wrong_byte_is_refused_with_the_hash_it_should_have(
    run: Any, tmp_path: Path
) -> None:
    tmp_path.joinpath("GPEN-BFR-512.pth").write_bytes(b"not these")
    done = run(default_model="gpen-bfr-512", accepted_licences="gpen-non-commercial")
    assert done.returncode == EXIT_CANNOT_START, done.stderr
    assert "worker cannot start:" in done.stderr
    assert "f1002c41add95b0d" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_setting_is_named(run: Any) -> None:
    done = run(jobs_in_flight="many")
    assert done.returncode == 2
    assert "worker cannot start: FACEMEND_JOBS_IN_FLIGHT" in done.stderr


def test_a_function_that_another_process_cannot_import_is_refused() -> None:
    assert address_of(restorers.load_once) == f"{restorers.__name__}:load_once"
    with pytest.raises(SettingsInvalid, match="cannot be imported"):
        address_of(lambda _settings: {})
