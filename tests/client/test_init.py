from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import facemend

SOURCE = Path(facemend.__file__)


def declared() -> dict[str, str]:
    """Name → module, as type checkers read them."""
    found = {}
    for node in ast.walk(ast.parse(SOURCE.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("facemend."):
            found.update({alias.name: node.module or "" for alias in node.names})
    return found


def test_type_checkers_and_the_interpreter_see_the_same_names() -> None:
    assert {
        name: f"facemend.{module}" for name, module in facemend._MODULE_OF.items()
    } == declared()
    assert sorted(facemend._MODULE_OF) == sorted(facemend.__all__)


@pytest.mark.parametrize("name", facemend._MODULE_OF)
def test_each_name_is_found(name: str) -> None:
    module = importlib.import_module(f"facemend.{facemend._MODULE_OF[name]}")
    assert getattr(facemend, name) is getattr(module, name)
    assert name in dir(facemend)


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="Clients"):
        facemend.Clients  # noqa: B018


def test_the_package_is_typed() -> None:
    assert SOURCE.with_name("py.typed").exists()


@pytest.mark.parametrize(
    ("program", "free_of"),
    [
        ("import facemend", {"httpx", "pydantic"}),
        ("import facemend.client, facemend.async_client", {"api", "deploy", "shared", "worker"}),
    ],
)
def test_an_import_loads_no_more_than_it_must(program: str, free_of: set[str]) -> None:
    script = f"{program}; import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert free_of.isdisjoint(done.stdout.split())
