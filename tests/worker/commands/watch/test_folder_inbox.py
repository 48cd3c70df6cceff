from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from facemend.folder.photos import PhotoFolder
from worker.commands.watch import folder_inbox as module
from worker.commands.watch.folder_inbox import FolderInbox


@pytest.fixture
def inbox(tmp_path: Path) -> FolderInbox:
    (tmp_path / "in").mkdir()
    failed = tmp_path / "in" / "failed"
    return FolderInbox(PhotoFolder(tmp_path / "in", True, (failed,)), failed, settle_s=0.2)


def put(inbox: FolderInbox, name: str, data: bytes = b"photo") -> Path:
    path = inbox.photos.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_photo_is_whole_when_it_has_not_changed_for_a_while(inbox: FolderInbox) -> None:
    photo = put(inbox, "a.jpg")
    assert inbox.whole() == []
    assert not inbox.settled
    time.sleep(0.25)
    assert inbox.whole() == [photo]
    assert inbox.settled


def test_a_photo_that_still_grows_is_not_whole(inbox: FolderInbox) -> None:
    photo = put(inbox, "a.jpg")
    for _ in range(3):
        inbox.whole()
        time.sleep(0.25)
        with photo.open("ab") as file:
            file.write(b"more")
        assert inbox.whole() == []
        assert inbox.has_changed(photo) is False
    photo.write_bytes(b"another")
    assert inbox.has_changed(photo)


def test_an_empty_file_is_waited_for(inbox: FolderInbox, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = put(inbox, "a.jpg", b"")
    inbox.whole()
    time.sleep(0.25)
    assert inbox.whole() == []
    monkeypatch.setattr(module, "EMPTY_SETTLES_S", 0.1)
    assert inbox.whole() == [photo]


@pytest.mark.parametrize(
    "name", [".hidden.jpg", "a.jpg.part", "a.tmp", "a.jpg.crdownload", "notes.txt", ".dir/a.jpg"]
)
def test_temporary_names_are_left_alone(inbox: FolderInbox, name: str) -> None:
    put(inbox, name)
    inbox.whole()
    assert inbox.settled


@pytest.mark.parametrize("name", ["Élise \udcff.jpg", "a\nb.jpg", "x" * 251 + ".jpg", "sub/a.jpg"])
def test_a_photo_of_any_name_is_set_aside_with_its_reason(inbox: FolderInbox, name: str) -> None:
    target = Path(inbox.set_aside(put(inbox, name), "corrupt-image: it ends in the middle"))
    assert target.read_bytes() == b"photo"
    (told,) = [path for path in target.parent.iterdir() if path.suffix == ".txt"]
    assert told.read_text() == "corrupt-image: it ends in the middle\n"
    assert inbox.whole() == []
    assert inbox.settled, "what failed is not watched"


def test_nothing_that_failed_before_is_overwritten(inbox: FolderInbox) -> None:
    first = Path(inbox.set_aside(put(inbox, "a.jpg", b"1"), "why"))
    second = Path(inbox.set_aside(put(inbox, "a.jpg", b"2"), "why"))
    assert (first.name, second.name) == ("a.jpg", "a-2.jpg")
    assert (first.read_bytes(), second.read_bytes()) == (b"1", b"2")


def test_a_folder_that_is_away_is_an_error_and_its_return_is_noticed(inbox: FolderInbox) -> None:
    put(inbox, "a.jpg")
    away = inbox.photos.path.with_name("away")
    inbox.photos.path.rename(away)
    with pytest.raises(OSError, match="No such file"):
        inbox.whole()
    away.rename(inbox.photos.path)
    inbox.whole()
    time.sleep(0.25)
    assert [path.name for path in inbox.whole()] == ["a.jpg"]


def test_a_pipe_and_a_dead_link_are_no_photos(inbox: FolderInbox) -> None:
    os.mkfifo(inbox.photos.path / "pipe.jpg")
    (inbox.photos.path / "link.jpg").symlink_to("nowhere")
    assert inbox.whole() == []
    assert inbox.settled
