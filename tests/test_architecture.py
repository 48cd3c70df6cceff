"""What the modules may import, and that importing them has no side effects."""

from __future__ import annotations

import subprocess
import sys

import grimp
import pytest

#: All that the engine may import besides the standard library and itself.
ENGINE_MAY_IMPORT = {
    "shared.atomic_file",  # its caches are files that several processes write
    "shared.digest",
    "shared.errors",
    "shared.restore_options",
    "worker.imaging",
    "worker.weights",
    # libraries
    "cv2",
    "dlib",
    "facexlib",
    "numpy",
    "onnx",
    "onnxruntime",
    "openvino",
    "spandrel",
    "torch",
}


@pytest.fixture(scope="module")
def imported_by_engine() -> set[str]:
    """What the modules of the engine import directly, without the engine's own modules."""
    graph = grimp.build_graph("api", "deploy", "shared", "worker", include_external_packages=True)
    engine = {"worker.engine", *graph.find_descendants("worker.engine")}
    found = (graph.find_modules_directly_imported_by(module) for module in engine)
    return set().union(*found) - engine


def test_the_engine_imports_only_what_the_list_allows(imported_by_engine: set[str]) -> None:
    allowed = ENGINE_MAY_IMPORT | sys.stdlib_module_names
    assert {name for name in imported_by_engine if not _is_within(name, allowed)} == set()


def test_the_engine_imports_every_entry_of_the_list(imported_by_engine: set[str]) -> None:
    for entry in ENGINE_MAY_IMPORT:
        assert any(_is_within(name, {entry}) for name in imported_by_engine), entry


def _is_within(name: str, packages: set[str]) -> bool:
    parts = name.split(".")
    return any(".".join(parts[:length]) in packages for length in range(1, len(parts) + 1))


_IMPORT_EVERYTHING = """
import importlib, os, pkgutil, sys
import api, deploy, facemend, shared, worker

names = [
    module.name
    for package in (api, deploy, facemend, shared, worker)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
]
for name in names:
    environment, blocked = dict(os.environ), {n for n, m in sys.modules.items() if m is None}
    importlib.import_module(name)
    changed = {n for n in {*environment, *os.environ} if environment.get(n) != os.environ.get(n)}
    newly_blocked = {n for n, m in sys.modules.items() if m is None} - blocked
    if changed or newly_blocked:
        print(name, sorted(changed), sorted(newly_blocked))
print(len(names), "modules", file=sys.stderr)
"""


def test_importing_a_module_changes_neither_the_environment_nor_what_can_be_imported() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT_EVERYTHING], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
