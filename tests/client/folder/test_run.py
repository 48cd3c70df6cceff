"""A folder of photos restored by the real API, through ``Client.batch``."""

from __future__ import annotations

import asyncio
import errno
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import facemend
from facemend import AsyncClient, Client
from facemend.folder.results import RECORD_NAME
from shared.errors import CorruptImage
from shared.jobs.job import Job
from tests.api.serving import Server
from tests.chaos.proxy import Proxy
from tests.client.conftest import PICTURE, Worker
from tests.waiting import eventually

Jobs = Callable[[], list[Job]]


@pytest.fixture
def album(tmp_path: Path, photo: Path) -> Path:
    """Three photos, one of them in a subfolder, and a file that is none."""
    folder = tmp_path / "album"
    (folder / "1912").mkdir(parents=True)
    for name in ("a.jpg", "Élise \udcff.jpg", "1912/a.jpg"):
        shutil.copyfile(photo, folder / name)
    (folder / "notes.txt").write_text("notes")
    return folder


def results(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != RECORD_NAME
    }


def test_each_photo_of_a_folder_has_a_result(
    client: Client, working: Worker, album: Path, tmp_path: Path
) -> None:
    seen: list[str] = []
    report = client.batch(
        album, tmp_path / "out", recursive=True, on_outcome=lambda one: seen.append(one.status)
    )
    names = ["1912/a.jpg", "a.jpg", "Élise \udcff.jpg"]
    assert results(tmp_path / "out") == dict.fromkeys(names, PICTURE)
    assert sorted(seen) == ["restored"] * 3 + ["skipped"]
    (skipped,) = report.of("skipped")
    assert skipped.reason == "not a photo by its name (.txt)"
    assert report.left_out == 0


def test_a_subfolder_is_left_out_unless_it_is_asked_for(
    client: Client, working: Worker, album: Path, tmp_path: Path
) -> None:
    report = client.batch(album, tmp_path / "out")
    assert (len(report.of("restored")), report.left_out) == (2, 1)


def test_the_next_run_sends_only_what_is_new_or_changed(
    client: Client, working: Worker, album: Path, jobs: Jobs, photo: Path
) -> None:
    tmp_path = album.parent
    client.batch(album, tmp_path / "out")
    shutil.copyfile(photo, album / "new.jpg")
    (album / "a.jpg").write_bytes(photo.read_bytes() + b"\0")
    report = client.batch(album, tmp_path / "out")
    assert {one.photo.name for one in report.of("restored")} == {"new.jpg", "a.jpg"}
    assert len(jobs()) == 4
    assert len(client.batch(album, tmp_path / "out", strength=0.5).of("restored")) == 3
    assert len(client.batch(album, tmp_path / "out", strength=0.5, resume=False).outcomes) == 4
    assert len(jobs()) == 10


def test_a_photo_that_fails_stops_none_of_the_others_and_is_tried_by_the_next_run(
    client: Client, worker: Worker, album: Path, tmp_path: Path
) -> None:
    (album / "text.jpg").write_bytes(b"text")

    def work() -> None:
        worker.fail(*worker.next(), CorruptImage("it ends in the middle").problem())
        worker.succeed(*worker.next())

    thread = threading.Thread(target=work)
    thread.start()
    report = client.batch(album, tmp_path / "out", in_flight=1)
    thread.join()
    failed = {one.photo.name: one.code for one in report.of("failed")}
    assert failed == {"a.jpg": "corrupt-image", "text.jpg": "unsupported-image"}
    assert len(report.of("restored")) == 1
    thread = threading.Thread(target=lambda: worker.succeed(*worker.next()))
    thread.start()
    again = client.batch(album, tmp_path / "out")
    thread.join()
    assert [one.photo.name for one in again.of("restored")] == ["a.jpg"]


def test_an_interrupted_run_goes_on_with_the_same_jobs(
    client: Client, api_key: str, proxy: Proxy, worker: Worker, album: Path
) -> None:
    """The connection is cut once all photos are sent, and does not come back."""
    out = album.parent / "out"

    def jobs() -> list[Job]:
        return worker.store.page("acme", limit=100)[0]

    def cut() -> None:
        eventually(lambda: len(jobs()) == 3 and worker.begin() is None)
        proxy.down()

    thread = threading.Thread(target=cut)
    begun: list[tuple[Job, str]] = []
    original = worker.begin

    def begin() -> tuple[Job, str] | None:
        if found := original():
            begun.append(found)
        return found

    worker.begin = begin  # type: ignore[method-assign]
    thread.start()
    url = f"http://127.0.0.1:{proxy.port}"
    with (
        Client(url, api_key, patience_s=1) as far,
        pytest.raises(facemend.Unreachable),
    ):
        far.batch(album, out, recursive=True)
    thread.join()
    for job, token in begun:
        worker.succeed(job, token)
    report = client.batch(album, out, recursive=True)
    assert len(report.of("restored")) == 3
    assert len(jobs()) == 3


def test_a_request_whose_answer_is_not_known_is_sent_again_with_its_key(
    client: Client, working: Worker, album: Path, tmp_path: Path, jobs: Jobs
) -> None:
    """The run died after the request was sent and before its answer came."""
    client.batch(album, tmp_path / "out")
    record = tmp_path / "out" / RECORD_NAME
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    died = [line for line in lines if line.get("sent") and line["sent"]["job_id"] is None]
    record.write_text("".join(json.dumps(line) + "\n" for line in died) + '{"photo": "broken')
    report = client.batch(album, tmp_path / "out")
    assert len(report.of("restored")) == 2
    assert len(jobs()) == 2


def test_errors_that_would_meet_every_photo_end_the_run(
    api: Server, client: Client, album: Path, tmp_path: Path
) -> None:
    with Client(api.url, "fm_live_wrong") as wrong, pytest.raises(facemend.Unauthorized):
        wrong.batch(album, tmp_path / "out")
    with pytest.raises(facemend.InvalidRequest, match="strength"):
        client.batch(album, tmp_path / "out", strength=9)


def test_a_full_disk_ends_the_run(
    client: Client, working: Worker, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        client.batch(album, tmp_path / "out")
    assert results(tmp_path / "out") == {}


@pytest.mark.parametrize("empty", [True, False])
def test_a_folder_without_a_photo_is_an_error(client: Client, tmp_path: Path, empty: bool) -> None:
    (tmp_path / "album").mkdir()
    if not empty:
        (tmp_path / "album" / "notes.txt").touch()
    with pytest.raises(ValueError, match="it is empty" if empty else "not a photo by its name"):
        client.batch(tmp_path / "album", tmp_path / "out")


def test_results_need_a_folder_of_their_own(client: Client, album: Path) -> None:
    with pytest.raises(ValueError, match="folder of their own"):
        client.batch(album, album)


def test_results_inside_the_folder_are_no_photos_of_it(
    client: Client, working: Worker, album: Path
) -> None:
    client.batch(album, album / "out", recursive=True)
    report = client.batch(album, album / "out", recursive=True)
    assert {one.reason for one in report.of("skipped")} >= {"done before"}
    assert report.of("restored") == []


def test_asyncio_restores_a_folder_too(
    api: Server, api_key: str, working: Worker, album: Path, tmp_path: Path
) -> None:
    async def run() -> facemend.Report:
        async with AsyncClient(api.url, api_key) as client:
            return await client.batch(album, tmp_path / "out", recursive=True)

    assert len(asyncio.run(run()).of("restored")) == 3
    assert set(results(tmp_path / "out").values()) == {PICTURE}
