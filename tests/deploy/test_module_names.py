"""Containers run the installed package, whose modules have other names than in the checkout."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ROOT

_FILES = [
    ROOT / "docker-compose.yml",
    *sorted((ROOT / "deploy" / "docker").glob("Dockerfile.*")),
    *sorted((ROOT / "deploy" / "helm").rglob("*.yaml")),
]
_MODULE = re.compile(r'python"?,? "?-m"?,? "?([\w.]+)')


def modules(path: Path) -> list[str]:
    """Return the modules that a file runs, without the tools of Python itself."""
    found: list[str] = _MODULE.findall(path.read_text())
    return [name for name in found if name not in {"pip", "venv"}]


@pytest.mark.parametrize("path", _FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_container_runs_modules_of_the_installed_package(path: Path) -> None:
    for name in modules(path):
        package, _, module = name.partition(".")
        assert package == "facemend", f"{path.name} runs {name}"
        assert find_spec(module), f"{path.name} runs {name}, which is not there"


def test_the_files_run_some_modules() -> None:
    assert {name for path in _FILES for name in modules(path)} >= {
        "facemend.worker.app",
        "facemend.worker.notifier",
        "facemend.api",
    }
