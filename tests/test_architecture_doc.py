"""The tree in docs/architecture.md has every package of the source, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("api", "client", "deploy", "shared", "worker")


def documented() -> Iterator[str]:
    """Yield the folders of the tree, as paths."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    (block,) = re.findall(r"(?ms)^## The tree\n\n```\n(.*?)^```", text)
    parents: list[str] = []
    for indent, name in re.findall(r"(?m)^( *)([\w.]+)/ ", block):
        parents[len(indent) // 2 :] = [name]
        yield "/".join(parents)


def packages() -> Iterator[str]:
    for source in SOURCES:
        for file in (ROOT / source).rglob("__init__.py"):
            yield str(file.parent.relative_to(ROOT))


def test_each_folder_of_the_tree_exists() -> None:
    folders = list(documented())
    assert set(SOURCES) <= set(folders)
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []


def test_each_package_is_in_the_tree() -> None:
    assert sorted(set(packages()) - set(documented())) == []
