"""The files of the served models: when a change counts, and for which model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from worker.engine_process.model_files import ModelFiles


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.safetensors"
    path.write_bytes(b"first")
    (tmp_path / "other.safetensors").write_bytes(b"first")
    return path


@pytest.fixture
def files(old: Path) -> ModelFiles:
    return ModelFiles(old.parent, ("old", "other"))


def replace(path: Path, data: bytes) -> None:
    """Replace the file in one step, with the time and the size of the one before."""
    before = path.stat()
    new = path.with_suffix(".partial")
    new.write_bytes(data)
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(path)


def test_nothing_changes_if_nothing_is_written(files: ModelFiles) -> None:
    assert [files.changed() for _ in range(3)] == [[], [], []]
    assert files.as_kept


def test_a_replaced_file_counts_at_the_second_look_though_size_and_time_are_the_same(
    files: ModelFiles, old: Path
) -> None:
    replace(old, b"tsrif")
    assert [files.changed() for _ in range(3)] == [[], ["old"], ["old"]]
    assert not files.as_kept


def test_a_file_that_is_being_copied_does_not_count_until_it_is_whole(
    files: ModelFiles, old: Path
) -> None:
    with old.open("wb") as copy:
        for _ in range(3):
            copy.write(b"part")
            copy.flush()
            assert files.changed() == []
    assert files.changed() == ["old"]


def test_a_file_that_was_kept_does_not_count_again(files: ModelFiles, old: Path) -> None:
    replace(old, b"new")
    files.changed()
    assert files.changed() == ["old"]
    files.keep()
    assert [files.changed() for _ in range(2)] == [[], []]
    assert files.as_kept


def test_a_file_that_is_gone_counts_only_when_there_is_one_again(
    files: ModelFiles, old: Path
) -> None:
    old.unlink()
    assert [files.changed() for _ in range(3)] == [[], [], []]
    old.write_bytes(b"a new one")
    assert [files.changed() for _ in range(2)] == [[], ["old"]]


def test_the_entry_of_an_added_model_counts_and_copies_beside_it_do_not(
    files: ModelFiles, tmp_path: Path
) -> None:
    (tmp_path / "old.before.safetensors").write_bytes(b"what it was")
    (tmp_path / "old.partial").write_bytes(b"half")
    assert [files.changed() for _ in range(2)] == [[], []]
    (tmp_path / "old.json").write_text("{}")
    assert [files.changed() for _ in range(2)] == [[], ["old"]]


def test_a_link_that_leads_elsewhere_counts(tmp_path: Path) -> None:
    for version in ("1", "2"):
        folder = tmp_path / version
        folder.mkdir()
        (folder / "old.safetensors").write_bytes(b"first")
        os.utime(folder / "old.safetensors", ns=(0, 0))
    data = tmp_path / "data"
    data.symlink_to("1")
    files = ModelFiles(data, ("old",))
    data.with_name("new").symlink_to("2")
    data.with_name("new").replace(data)
    assert [files.changed() for _ in range(2)] == [[], ["old"]]
