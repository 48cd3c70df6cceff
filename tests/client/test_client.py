from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

import facemend
from facemend import Client, Restoration
from shared.errors import CorruptImage
from shared.jobs.job import Job
from shared.storage.bucket import ObjectStorage
from tests.api.serving import Server
from tests.client.conftest import PICTURE, Worker
from tests.waiting import eventually

Jobs = Callable[[], list[Job]]


def test_a_photo_is_restored_and_saved(
    client: Client, working: Worker, photo: Path, tmp_path: Path
) -> None:
    restored = client.restore(photo, strength=0.8)
    assert restored.save(tmp_path / "new" / "out.png") == tmp_path / "new" / "out.png"
    assert (tmp_path / "new" / "out.png").read_bytes() == PICTURE
    assert [face.status for face in restored.faces] == ["restored"]
    assert restored.job.options["strength"] == 0.8
    assert restored.job.output["format"] == "png"
    assert restored.image.width == 4
    assert restored.warnings == []


@pytest.mark.parametrize("kind", [str, bytes, io.BytesIO], ids=["path", "bytes", "file"])
def test_a_photo_may_be_a_path_bytes_or_a_file(
    client: Client, photo: Path, kind: type, jobs: Jobs
) -> None:
    given: Any = str(photo) if kind is str else kind(photo.read_bytes())
    job = client.submit(given, metadata={"order": "4711"})
    (stored,) = jobs()
    assert stored.request["input"]["bytes"] == photo.stat().st_size
    assert job.metadata == {"order": "4711"}
    assert job.status == "queued"


def test_the_names_of_private_photos_are_not_sent(
    client: Client, photo: Path, tmp_path: Path, api: Server
) -> None:
    name = tmp_path / "Aunt Élise\udcff.jpg"
    name.write_bytes(photo.read_bytes())
    client.submit(name)
    assert "lise" not in api.log.read_text()


def test_an_object_of_the_storage_is_named_by_its_key(
    client: Client, photo: Path, storage: ObjectStorage
) -> None:
    storage.put("tenants/acme/files/album/1912.jpg", photo.read_bytes(), "image/jpeg")
    assert client.submit(key="album/1912.jpg").input == {"key": "album/1912.jpg"}


def test_a_photo_is_sent_straight_to_the_storage(
    client: Client, working: Worker, photo: Path, jobs: Jobs
) -> None:
    upload = client.upload(photo)
    restored = client.restore(upload_id=upload.upload_id)
    assert restored.job.input == {"upload_id": upload.upload_id}
    assert jobs()[0].id == restored.job.id
    with pytest.raises(facemend.Conflict, match="used already"):
        client.submit(upload_id=upload.upload_id)


def test_the_faces_that_a_detection_found_are_chosen(
    client: Client, worker: Worker, photo: Path, redis: Redis
) -> None:
    found: list[facemend.Detection] = []
    thread = threading.Thread(target=lambda: found.append(client.detect(photo)))
    thread.start()
    eventually(lambda: redis.keys("fm:job:det_*"))
    (name,) = {key.split(":")[2] for key in redis.keys("fm:job:det_*")}
    worker.find_a_face(name)
    thread.join()
    (detection,) = found
    assert [face.score for face in detection.faces] == [0.99]
    chosen = client.submit(photo, faces=detection.choose(0))
    assert chosen.options["faces"] == {"detection_id": detection.id, "indexes": [0]}
    client.erase(detection)
    with pytest.raises(facemend.InvalidRequest, match="no such detection"):
        client.submit(photo, faces=detection.choose(0))


def test_a_file_that_is_no_photo_is_not_uploaded(client: Client) -> None:
    with pytest.raises(ValueError, match="no JPEG"):
        client.upload(b"text")


@pytest.mark.parametrize("given", [{}, {"photo": b"x", "url": "https://example.com/a.jpg"}])
def test_two_photos_or_none_are_an_error_before_anything_is_sent(
    client: Client, given: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        client.submit(**given)


def test_a_photo_that_cannot_be_read_is_an_error_of_the_file(client: Client) -> None:
    with pytest.raises(FileNotFoundError):
        client.submit("no-such-photo.jpg")


def test_wait_returns_the_job_that_has_ended(client: Client, worker: Worker, photo: Path) -> None:
    job = client.submit(photo)
    timer = threading.Timer(0.3, lambda: worker.succeed(*worker.next()))
    timer.start()
    done = client.wait(job)
    assert done.status == "succeeded"
    assert client.wait(done) is done


def test_wait_tells_of_each_change(client: Client, worker: Worker, photo: Path) -> None:
    job = client.submit(photo)
    seen: list[str] = []

    def on_progress(now: Restoration) -> None:
        seen.append(now.status)
        if now.status == "queued":
            begun.extend(worker.next())
        elif now.status == "running":
            worker.succeed(*begun)

    begun: list[Any] = []
    assert client.wait(job, on_progress=on_progress).status == "succeeded"
    assert seen == ["queued", "running", "succeeded"]


def test_wait_gives_up_after_its_timeout_and_the_job_goes_on(client: Client, photo: Path) -> None:
    job = client.submit(photo)
    with pytest.raises(facemend.WaitTimeout, match="has not ended") as caught:
        client.wait(job, timeout_s=0.2)
    assert client.get(caught.value.job_id).status == "queued"


def test_events_end_with_the_job(client: Client, worker: Worker, photo: Path) -> None:
    job = client.submit(photo)
    kinds = []
    for event in client.events(job):
        kinds.append((event.type, event.job.status))
        if event.job.status == "queued":
            worker.succeed(*worker.next())
    assert kinds[0] == ("status", "queued")
    assert kinds[-1] == ("status", "succeeded")
    last = int(event.id)
    assert [later.id for later in client.events(job, last_event_id=str(last))] == []


def test_a_failed_job_is_an_error_with_its_code(
    client: Client, worker: Worker, photo: Path
) -> None:
    problem = CorruptImage("it ends in the middle").problem()
    timer = threading.Timer(0.1, lambda: worker.fail(*worker.next(), problem))
    timer.start()
    with pytest.raises(facemend.JobFailed, match="corrupt-image: it ends in the middle") as caught:
        client.restore(photo)
    assert caught.value.code == "corrupt-image"
    assert caught.value.job.error is not None
    assert caught.value.job.error.retryable is False


def test_a_job_is_canceled_run_again_and_erased(client: Client, photo: Path) -> None:
    job = client.submit(photo)
    assert client.cancel(job).status == "canceled"
    with pytest.raises(facemend.Conflict):
        client.cancel(job)
    assert client.retry(job.id).status == "queued"
    client.cancel(job)
    assert client.wait(job).status == "canceled"
    assert client.erase(job) is None
    with pytest.raises(facemend.NotFound):
        client.get(job)
    with pytest.raises(facemend.NotFound):
        client.erase(job)


def test_a_job_that_somebody_cancels_ends_a_restore(
    client: Client, photo: Path, jobs: Jobs
) -> None:
    timer = threading.Timer(0.3, lambda: client.cancel(jobs()[0].id))
    timer.start()
    with pytest.raises(facemend.JobCanceled):
        client.restore(photo)


def test_jobs_are_listed_page_by_page(client: Client, photo: Path) -> None:
    ids = [client.submit(photo).id for _ in range(3)]
    first = client.list(limit=2)
    assert [job.id for job in first.data] == ids[:0:-1]
    rest = client.list(limit=2, cursor=first.next_cursor)
    assert [job.id for job in rest.data] == ids[:1]
    assert client.list(status="succeeded").data == []


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda client: client.get("job_0"), facemend.NotFound),
        (lambda client: client.get("../../healthz"), facemend.NotFound),
        (lambda client: client.list(limit=1000), facemend.InvalidRequest),
        (lambda client: client.submit(b"text"), facemend.InputProblem),
        (lambda client: client.submit(key="none.jpg"), facemend.InputProblem),
    ],
)
def test_a_refusal_is_a_typed_error(
    client: Client, call: Callable[[Client], object], kind: type[facemend.ProblemError]
) -> None:
    with pytest.raises(kind) as caught:
        call(client)
    assert caught.value.problem.detail in str(caught.value)
    assert caught.value.problem.request_id


def test_the_field_that_is_wrong_is_named(client: Client, photo: Path) -> None:
    with pytest.raises(facemend.InvalidRequest, match="/options/strength"):
        client.submit(photo, strength=7)


def test_a_wrong_key_is_unauthorized(api: Server, photo: Path) -> None:
    with Client(api.url, "fm_live_wrong") as client, pytest.raises(facemend.Unauthorized):
        client.submit(photo)


@pytest.mark.parametrize(
    ("url", "key"), [("facemend.example", "k"), ("https://x", ""), ("https://x", "a\nb")]
)
def test_a_wrong_address_or_key_is_an_error_at_once(url: str, key: str) -> None:
    with pytest.raises(ValueError, match=r"address|key"):
        Client(url, key)


def test_a_picture_of_another_format_is_not_saved_under_a_wrong_name(
    client: Client, working: Worker, photo: Path, tmp_path: Path
) -> None:
    restored = client.restore(photo)
    with pytest.raises(ValueError, match='"format": "jpeg"'):
        restored.save(tmp_path / "out.jpg")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_is_written_to_a_file_too(client: Client, working: Worker, photo: Path) -> None:
    file = io.BytesIO()
    assert client.restore(photo).save(file) is None
    assert file.getvalue() == PICTURE


def test_a_picture_that_arrives_damaged_replaces_nothing(
    client: Client, worker: Worker, storage: ObjectStorage, photo: Path, tmp_path: Path
) -> None:
    job = client.submit(photo, output={"format": "png"})
    worker.succeed(*worker.next())
    done = client.wait(job)
    assert done.result is not None
    storage.put(done.result.image.key, b"another picture", "image/png")
    (tmp_path / "out.png").write_bytes(b"before")
    with pytest.raises(facemend.ResultDamaged):
        client.save(done, tmp_path / "out.png")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [
        ("out.png", b"before")
    ]


def test_an_address_that_has_expired_is_renewed(
    client: Client, working: Worker, photo: Path, tmp_path: Path
) -> None:
    job = client.restore(photo).job
    assert job.result is not None
    image = job.result.image
    assert image.url
    expired = image.model_copy(update={"url": image.url.replace("X-Amz-Date=20", "X-Amz-Date=19")})
    old = job.model_copy(update={"result": job.result.model_copy(update={"image": expired})})
    client.save(old, tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes() == PICTURE


def test_a_comparison_that_was_not_asked_for_cannot_be_saved(
    client: Client, working: Worker, photo: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match='"comparison": True'):
        client.restore(photo).save(tmp_path / "out.png", which="comparison")
