"""Build hook of the wheel: all packages of the checkout become one package, ``facemend``.

In the checkout, `api`, `deploy`, `shared` and `worker` are top-level packages. In an environment
with other software these names would collide. So the wheel has ``facemend.api``,
``facemend.deploy``, ``facemend.shared`` and ``facemend.worker``, beside the modules of the client,
and every import is rewritten. An editable install keeps the names of the checkout.
"""

from __future__ import annotations

import ast
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGES = ("api", "deploy", "shared", "worker")
#: What is of use only in a checkout.
_LEFT_OUT = ("deploy/setup", "deploy/docker/pin_images.py")
#: A package is data too, except in `deploy`: images and charts are built from a checkout.
_DATA_OF_DEPLOY = ("deploy/embedded",)
#: The folder in which `make release` leaves man pages; other builds have none.
MAN_PAGES = "build/man"
_PREFIX = "facemend."
_COMMAND = re.compile(rf"(?<=python -m )(?=(?:{'|'.join(PACKAGES)})\b)")
_IMPORT_LEFT = re.compile(
    rf"^\s*(?:from (?:{'|'.join(PACKAGES)})\b[\w.]* import|import (?:{'|'.join(PACKAGES)})\b)",
    re.MULTILINE,
)
_MODULE_IN_STRING = re.compile(rf"((?:{'|'.join(PACKAGES)})(?:\.\w+)+)(?::\w+)?")


class WheelHook(BuildHookInterface[Any]):
    """Writes the package to a temporary folder, and tells hatchling to put it into the wheel."""

    _folder: str | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before the build of a ``standard`` or an ``editable`` wheel."""
        if version == "editable":
            return
        self._folder = tempfile.mkdtemp(prefix="facemend-wheel-")
        package = Path(self._folder) / "facemend"
        write_package(Path(self.root), package)
        build_data["force_include"][str(package)] = "facemend"
        for page in sorted((Path(self.root) / MAN_PAGES).glob("*.1")):
            build_data["shared_data"][str(page)] = f"share/man/man1/{page.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called by hatchling after the build."""
        del version, build_data, artifact_path
        if self._folder:
            shutil.rmtree(self._folder)


def write_package(root: Path, package: Path) -> None:
    """Write the package ``facemend`` of the wheel from the checkout at ``root``.

    Raises ValueError for an import that cannot be rewritten; it names the file and the line.
    """
    shutil.copytree(
        root / "client" / "facemend", package, ignore=shutil.ignore_patterns("__pycache__")
    )
    files = [file for name in PACKAGES for file in _files(root, root / name)]
    modules = {_module(file.relative_to(root)) for file in files if file.suffix == ".py"}
    for file in [*files, *package.rglob("*.py")]:
        target = package / file.relative_to(root) if file.is_relative_to(root) else file
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix != ".py":
            shutil.copyfile(file, target)
            continue
        try:
            target.write_text(rewritten(file.read_text(), modules))
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None


def _files(root: Path, folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(root).as_posix()
        if not path.is_file() or "__pycache__" in path.parts or name.startswith(_LEFT_OUT):
            continue
        is_code = path.suffix == ".py" or not name.startswith("deploy/")
        if is_code or name.startswith(_DATA_OF_DEPLOY):
            yield path


def _module(file: Path) -> str:
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def rewritten(source: str, modules: set[str]) -> str:
    """Return Python source in which the names of our modules begin with ``facemend.``.

    Imports are rewritten; strings that are the name of one of ``modules`` with at least one dot, or
    such a name and an attribute after a colon; and ``python -m`` in any text. Raises ValueError for
    ``import shared.settings`` without ``as``, because the names that follow would stay as they are,
    and for an import inside a string.
    """
    lines = source.splitlines(keepends=True)
    places = [place for node in ast.walk(ast.parse(source)) for place in _places(node, modules)]
    for line, column in sorted(places, reverse=True):  # the last one first, so that none moves
        encoded = lines[line - 1].encode()
        lines[line - 1] = (encoded[:column] + _PREFIX.encode() + encoded[column:]).decode()
    text = _COMMAND.sub(_PREFIX, "".join(lines))
    if left := _IMPORT_LEFT.search(text):
        raise ValueError(f"an import in a string: {left[0].strip()}")
    return text


def _places(node: ast.AST, modules: set[str]) -> Iterator[tuple[int, int]]:
    """Yield where ``facemend.`` is to be inserted for this node: line, column in bytes."""
    if isinstance(node, ast.ImportFrom) and node.level == 0 and _is_ours(node.module or ""):
        yield node.lineno, node.col_offset + len("from ")
    elif isinstance(node, ast.Import):
        for alias in node.names:
            if _is_ours(alias.name):
                if alias.asname is None:
                    raise ValueError(f"line {node.lineno}: import {alias.name} needs an `as`")
                yield alias.lineno, alias.col_offset
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        found = _MODULE_IN_STRING.fullmatch(node.value)
        if found and found[1] in modules:
            yield node.lineno, node.col_offset + 1  # after the quote


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in PACKAGES
