"""THIRD_PARTY.md names each direct dependency and each bundled weight."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _direct_dependencies() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    return sorted({re.split(r"[\[~=<>!; ]", line)[0] for group in groups for line in group})


def _named() -> set[str]:
    return set(re.findall(r"[\w./-]+", (ROOT / "THIRD_PARTY.md").read_text()))


@pytest.mark.parametrize("package", _direct_dependencies())
def test_a_dependency_is_named_with_its_licence(package: str) -> None:
    assert package in {name.rstrip(".") for name in _named()}


def test_bundled_weights_are_named() -> None:
    weights = sorted((ROOT / "worker/weights/bundled").glob("*.safetensors"))
    assert weights
    assert {str(path.relative_to(ROOT)) for path in weights} <= _named()
