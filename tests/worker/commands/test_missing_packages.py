"""What a command says if the packages that it needs are not installed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

#: Runs a command in a Python that finds only the packages that are named first.
_RUN = """
import importlib.metadata as metadata, re, sys
names, command = sys.argv[1].split(), sys.argv[2:]
owners = metadata.packages_distributions()
class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        found = {re.sub("[-_.]+", "-", owner).lower() for owner in owners.get(name, ())}
        if found and not found & {"facemend", *names}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NotInstalled())
from worker.cli import main
main(command, prog_name="facemend")
"""
Run = Callable[..., "subprocess.CompletedProcess[str]"]
_BASE = {
    *("annotated-types", "anyio", "cffi", "certifi", "click", "cryptography", "h11", "httpcore"),
    *("httpx", "idna", "markdown-it-py", "mdurl", "pycparser", "pydantic", "pydantic-core"),
    *("pydantic-settings", "pygments", "python-dotenv", "rich", "typing-extensions"),
    *("typing-inspection", "watchfiles", "sniffio"),
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(packages: set[str], *command: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", _RUN, " ".join(packages), *command]
        return subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (["restore", "photo.jpg"], "worker"),
        (["models", "list"], "worker"),
        (["keys", "list"], "api"),
        (["up"], "all"),
        (["watch", "s3://scans", "out", "--server", "http://localhost"], "service"),
    ],
)
def test_a_command_whose_packages_are_missing_names_the_extra(
    run: Run, command: list[str], extra: str
) -> None:
    done = run(_BASE, *command)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {command[0]} needs the package ")
    assert done.stderr.endswith(f"which is not installed: pip install 'facemend[{extra}]'\n")


@pytest.mark.parametrize("command", [["--help"], ["--version"]])
def test_help_and_version_need_only_the_base(run: Run, command: list[str]) -> None:
    done = run(_BASE, *command)
    assert done.returncode == 0, done.stderr


def test_doctor_beside_the_api_says_what_is_missing(run: Run) -> None:
    lock = (ROOT / "requirements" / "api.lock").read_text()
    done = run(
        set(re.findall(r"(?m)^([a-z0-9][a-z0-9._-]*)(?:\[[^]]*\])?==", lock)), "doctor", "--json"
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 3
    assert "pip install 'facemend[worker]'" in done.stdout
