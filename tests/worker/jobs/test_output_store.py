"""The result at an address of the client, by PUT."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest

from shared.errors import JobCanceled, PublishFailed, PublishRefused
from shared.jobs.job import Job, Status
from shared.jobs.runs import Claim
from shared.jobs.store import JobStore
from shared.net.fetcher import Fetcher
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from tests.worker.scripted import SERVED, RecordingContext
from worker.jobs import publisher
from worker.jobs.pipeline import Pipeline
from worker.jobs.result_cache import ResultCache
from worker.jobs.runner import JobRunner

Submit = Callable[..., Job]


@dataclass
class PutServer:
    """A server of a client. It responds with each of ``statuses`` in turn, then with 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    received: list[tuple[str, str, bytes]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[PutServer]:
    receiver = PutServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.received.append((self.path, self.headers["Content-Type"], body))
            self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}/a.png?signature=secret"
    yield receiver
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "_PUT_PAUSES_S", (0.01, 0.01))


def to(url: str) -> dict[str, object]:
    return {"output": {"format": "png", "store": {"url": url}}}


def test_the_picture_is_put_there_and_stored_as_always(
    pipeline: Pipeline, submit: Submit, storage: ObjectStorage, receiver: PutServer
) -> None:
    result = pipeline.run(Claim(submit(**to(receiver.url)), "t"), RecordingContext()).result
    assert result is not None
    ((path, content_type, body),) = receiver.received
    assert (path, content_type) == ("/a.png?signature=secret", "image/png")
    assert hashlib.sha256(body).hexdigest() == result["image"]["sha256"]
    assert storage.get(result["image"]["key"], max_bytes=10**7) == body


def test_a_presigned_address_of_a_real_bucket_works(
    pipeline: Pipeline, submit: Submit, storage: ObjectStorage, settings: Settings
) -> None:
    parameters = {"Bucket": settings.s3_bucket, "Key": "theirs/a.png", "ContentType": "image/png"}
    url = storage._client.generate_presigned_url("put_object", Params=parameters)
    result = pipeline.run(Claim(submit(**to(url)), "t"), RecordingContext()).result
    assert result is not None
    stored = storage.head("theirs/a.png")
    assert (stored.bytes, stored.content_type) == (result["image"]["bytes"], "image/png")


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_failure_that_may_pass_is_tried_again(
    pipeline: Pipeline, submit: Submit, receiver: PutServer, status: int
) -> None:
    receiver.statuses = [status, status]
    outcome = pipeline.run(Claim(submit(**to(receiver.url)), "t"), RecordingContext())
    assert outcome.status is Status.SUCCEEDED
    assert len(receiver.received) == 3


def test_after_three_failures_the_job_is_tried_again_later(
    worker: JobRunner, submit: Submit, store: JobStore, receiver: PutServer
) -> None:
    receiver.statuses = [500] * 3
    job = submit(**to(receiver.url))
    worker.restore(job.id)
    assert store.get(job.tenant, job.id).status is Status.QUEUED
    assert len(receiver.received) == 3


@pytest.mark.parametrize("status", [301, 307, 400, 403, 404])
def test_a_refusal_fails_the_job_at_once(
    worker: JobRunner, submit: Submit, store: JobStore, receiver: PutServer, status: int
) -> None:
    receiver.statuses = [status]
    job = submit(**to(receiver.url))
    worker.restore(job.id)
    failed = store.get(job.tenant, job.id)
    assert failed.status is Status.FAILED
    assert failed.error is not None
    assert (failed.error["code"], failed.error["retryable"]) == ("publish-failed", False)
    assert str(status) in failed.error["detail"]
    assert "secret" not in failed.error["detail"]
    assert len(receiver.received) == 1  # no redirect is followed


def test_a_private_address_is_refused_when_it_is_connected_to(
    pipeline: Pipeline, submit: Submit, receiver: PutServer
) -> None:
    careful = replace(pipeline, fetcher=Fetcher(allow_private="none"))
    with pytest.raises(PublishRefused):
        careful.run(Claim(submit(**to(receiver.url)), "t"), RecordingContext())
    assert receiver.received == []


def test_a_server_that_is_away_is_a_failure_that_may_pass(
    pipeline: Pipeline, submit: Submit
) -> None:
    with pytest.raises(PublishFailed) as failure:
        pipeline.run(Claim(submit(**to("http://127.0.0.1:9/a.png")), "t"), RecordingContext())
    assert failure.value.retryable


def test_a_job_that_was_canceled_puts_nothing(
    pipeline: Pipeline, submit: Submit, receiver: PutServer
) -> None:
    class Canceled(RecordingContext):
        def check(self) -> None:
            if list(pipeline.storage.list("tenants/acme/results/")):
                raise JobCanceled

    with pytest.raises(JobCanceled):
        pipeline.run(Claim(submit(**to(receiver.url)), "t"), Canceled())
    assert receiver.received == []


def test_a_copy_of_an_earlier_result_is_put_there(
    worker: JobRunner, submit: Submit, store: JobStore, receiver: PutServer
) -> None:
    cache = ResultCache(store.runs, lambda: [SERVED])
    worker = replace(worker, pipeline=replace(worker.pipeline, cache=cache))
    worker.restore(submit(output={"format": "png"}).id)
    job = submit(**to(receiver.url))
    worker.restore(job.id)
    done = store.get(job.tenant, job.id)
    assert done.cached
    assert done.result is not None
    ((_, _, body),) = receiver.received
    assert hashlib.sha256(body).hexdigest() == done.result["image"]["sha256"]
