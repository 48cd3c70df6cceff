"""Atomic files: whole new content, or the old one."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.atomic_file import replaced_atomically


def test_the_new_content_replaces_the_old_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    with replaced_atomically(path) as unfinished:
        unfinished.write_text("old")
    with replaced_atomically(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def fail_after(_: object) -> None:
    raise OSError("disk full")


def test_after_an_error_the_old_content_stays_and_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"), replaced_atomically(path) as unfinished:
        fail_after(unfinished.write_text("half of the n"))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_with_the_longest_name_can_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    with replaced_atomically(path) as unfinished:
        unfinished.write_text("new")
    assert path.read_text() == "new"
