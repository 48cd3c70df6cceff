from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from deploy.embedded.private_folder import make_private
from shared.errors import StackFailed

SIGN = "stack.json"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_is_private(tmp_path: Path) -> None:
    make_private(tmp_path / "a" / "b", sign=SIGN)
    assert mode(tmp_path / "a" / "b") == 0o700


def test_an_empty_open_folder_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_private(tmp_path, sign=SIGN)
    assert mode(tmp_path) == 0o700


def test_an_open_folder_of_ours_is_closed_with_everything_in_it(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("")
    outside.chmod(0o644)
    folder = tmp_path / "data"
    (folder / "redis").mkdir(parents=True, mode=0o755)
    for name in (SIGN, "redis/appendonly.aof"):
        (folder / name).write_text("secret")
        (folder / name).chmod(0o644)
    (folder / "link").symlink_to(outside)
    folder.chmod(0o755)
    make_private(folder, sign=SIGN)
    ours = [folder, folder / "redis", folder / SIGN, folder / "redis/appendonly.aof"]
    assert not any(mode(path) & 0o077 for path in ours)
    assert mode(outside) == 0o644


def test_an_open_folder_with_other_files_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("")
    tmp_path.chmod(0o755)
    with pytest.raises(StackFailed, match="open to other users"):
        make_private(tmp_path, sign=SIGN)
    assert mode(tmp_path) == 0o755


def test_a_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(StackFailed, match="belongs to another user"):
        make_private(tmp_path, sign=SIGN)
