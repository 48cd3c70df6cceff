from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from facemend.folder.photos import PhotoFolder
from facemend.folder.record import Record
from facemend.folder.result_names import ResultNames
from facemend.folder.run import Errand
from tests.waiting import eventually
from worker.commands.watch import watching as module
from worker.commands.watch.folder_inbox import FolderInbox
from worker.commands.watch.restorers import Attempt
from worker.commands.watch.watching import Watching


class Copies:
    """A restorer that copies, and has the faults that a test wants."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.seen: list[str] = []
        self.faults: list[Attempt] = []

    def __call__(self, errand: Errand) -> Attempt:
        self.seen.append(errand.name)
        if self.faults:
            return self.faults.pop(0)
        version = self.record.version_of(errand.photo)
        errand.target.parent.mkdir(parents=True, exist_ok=True)
        errand.target.write_bytes(errand.photo.read_bytes())
        self.record.add(errand.name, version, [errand.target])
        return Attempt("done", result=errand.target)


class Watched:
    """A folder that is watched in a thread; ``lines`` is what was said."""

    def __init__(self, folder: Path) -> None:
        self.inbox, self.out = folder / "in", folder / "out"
        self.inbox.mkdir(exist_ok=True)
        self.out.mkdir(exist_ok=True)
        self.lines: list[str] = []
        self.stop = threading.Event()
        self.record = Record.of_folder(self.out, "watch")
        self.copies = Copies(self.record)
        failed = self.inbox / "failed"
        self.watching = Watching(
            FolderInbox(PhotoFolder(self.inbox, True, (self.out, failed)), failed, 0.1),
            self.out,
            self.record,
            ResultNames(self.record.results()),
            self.copies,
            self.lines.append,
            in_flight=2,
            every_s=0.3,
        )
        self.thread = threading.Thread(target=self.watching.run, args=[self.stop])

    def start(self) -> Watched:
        self.thread.start()
        return self

    def end(self) -> None:
        self.stop.set()
        if self.thread.ident:
            self.thread.join()

    def has(self, name: str, data: bytes = b"photo") -> bool:
        path = self.out / name
        return path.exists() and path.read_bytes() == data

    def put(self, name: str, data: bytes = b"photo") -> None:
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.setattr(module, "_PAUSE_S", 0.1)
    watched = Watched(tmp_path)
    yield watched
    watched.end()


def test_what_arrives_is_restored_once(watched: Watched) -> None:
    watched.put("before.jpg")
    watched.start()
    eventually(lambda: watched.has("before.jpg"))
    for name in ("a.jpg", "Élise \udcff.jpg", "sub/a.jpg"):
        watched.put(name)
    eventually(lambda: watched.has("sub/a.jpg") and watched.has("Élise \udcff.jpg"))
    watched.end()
    assert sorted(watched.copies.seen) == ["a.jpg", "before.jpg", "sub/a.jpg", "Élise \udcff.jpg"]


def test_a_restart_does_nothing_again_and_a_changed_photo_replaces_its_result(
    watched: Watched, tmp_path: Path
) -> None:
    watched.put("a.jpg")
    watched.start()
    eventually(lambda: watched.has("a.jpg"))
    watched.end()
    again = Watched(tmp_path)
    again.put("b.jpg")
    again.put("a.jpg", b"a new scan")
    again.start()
    eventually(lambda: again.has("a.jpg", b"a new scan") and again.has("b.jpg"))
    again.end()
    assert sorted(again.copies.seen) == ["a.jpg", "b.jpg"]
    third = Watched(tmp_path)
    third.watching.run(third.stop, once=True)
    assert third.copies.seen == []


def test_a_bad_photo_is_moved_with_its_reason_and_the_others_go_on(watched: Watched) -> None:
    watched.copies.faults = [Attempt("bad", "corrupt-image: it ends in the middle")]
    watched.put("a.jpg")
    watched.start()
    aside = watched.inbox / "failed" / "a.jpg"
    eventually(aside.exists)
    assert aside.with_name("a.jpg.txt").read_text() == "corrupt-image: it ends in the middle\n"
    watched.put("b.jpg")
    eventually(lambda: watched.has("b.jpg"))
    assert not (watched.inbox / "a.jpg").exists()


def test_a_photo_that_changed_while_it_was_read_is_not_bad(watched: Watched) -> None:
    watched.put("a.jpg", b"half")
    original = watched.watching.restore

    def unlucky(errand: Errand) -> Attempt:
        watched.watching.restore = original
        watched.put("a.jpg", b"the whole photo")
        return Attempt("bad", "corrupt-image: it ends in the middle")

    watched.watching.restore = unlucky
    watched.start()
    eventually(lambda: watched.has("a.jpg", b"the whole photo"))
    assert not (watched.inbox / "failed").exists()


def test_a_fault_that_may_pass_is_tried_again(watched: Watched) -> None:
    watched.copies.faults = [Attempt("later", "out-of-memory: …")] * 2
    watched.put("a.jpg")
    watched.watching.run(watched.stop, once=True)
    assert watched.copies.seen == ["a.jpg"] * 3
    assert watched.has("a.jpg")


def test_a_fault_that_does_not_pass_ends_with_the_photo_set_aside(watched: Watched) -> None:
    watched.copies.faults = [Attempt("later", "worker-lost: …")] * 5
    watched.put("a.jpg")
    watched.watching.run(watched.stop, once=True)
    assert (watched.inbox / "failed" / "a.jpg.txt").read_text() == "worker-lost: …\n"
    assert watched.watching.failures == 1


def test_a_full_disk_or_a_service_that_is_away_is_said_once_and_moves_nothing(
    watched: Watched,
) -> None:
    away = Attempt("later", "No space left on device", everywhere=True)
    watched.copies.faults = [away] * 8
    watched.put("a.jpg")
    watched.put("b.jpg")
    watched.watching.run(watched.stop, once=True)
    assert watched.has("a.jpg")
    assert watched.has("b.jpg")
    assert watched.lines.count("No space left on device") == 1
    assert "going on" in watched.lines


def test_a_folder_that_vanishes_is_waited_for(watched: Watched, tmp_path: Path) -> None:
    watched.start()
    watched.inbox.rename(tmp_path / "away")
    eventually(lambda: any("waiting for it" in line for line in watched.lines))
    (tmp_path / "away").rename(watched.inbox)
    watched.put("a.jpg")
    eventually(lambda: watched.has("a.jpg"))


def test_results_are_not_written_to_a_folder_that_vanished(
    watched: Watched, tmp_path: Path
) -> None:
    watched.start()
    watched.out.rename(tmp_path / "away")
    watched.put("a.jpg")
    eventually(lambda: any("is gone" in line for line in watched.lines))
    assert not watched.out.exists()
    (tmp_path / "away").rename(watched.out)
    eventually(lambda: watched.has("a.jpg"))


def test_a_photo_that_cannot_be_moved_stays(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(FolderInbox, "set_aside", refuse)
    watched.copies.faults = [Attempt("bad", "corrupt-image: …")] * 3
    watched.put("a.jpg")
    watched.start()
    eventually(lambda: any("cannot be set aside" in line for line in watched.lines))
    assert (watched.inbox / "a.jpg").exists()


def test_a_photo_that_somebody_removes_is_not_waited_for(watched: Watched) -> None:
    watched.put("a.jpg")
    original = watched.watching.restore

    def fail_and_remove(errand: Errand) -> Attempt:
        watched.watching.restore = original
        return Attempt("later", "worker-lost: …")

    watched.watching.restore = fail_and_remove
    watched.watching.say = lambda _: (watched.inbox / "a.jpg").unlink()
    watched.watching.run(watched.stop, once=True)
    assert watched.copies.seen == []
