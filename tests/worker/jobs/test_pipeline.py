"""One job in the pipeline, from the photo to the published result."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import io
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from shared.errors import EngineCrashed, InputNotFound, UnsupportedImage
from shared.jobs.job import Job, Stage, Status
from shared.jobs.runs import Claim
from shared.provenance.signing_keys import PublicKeys, SigningKey
from shared.provenance.statement import read_manifest
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import quarantine_key
from tests.worker.scripted import RecordingContext
from worker.jobs.pipeline import Pipeline

if TYPE_CHECKING:
    from tests.worker.scripted import ScriptedRestorer

Submit = Callable[..., Job]


@pytest.fixture
def origin(png: bytes) -> Iterator[str]:
    """The address of a web server that has ``/photo.png`` and nothing else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/photo.png" else 404)
            self.send_header("Content-Length", str(len(png)))
            self.end_headers()
            self.wfile.write(png)

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def claim(job: Job, token: str = "t") -> Claim:
    return Claim(job, token)


def test_the_result_is_stored_under_a_key_with_the_lease_token(
    pipeline: Pipeline, submit: Submit, restorer: ScriptedRestorer, storage: ObjectStorage
) -> None:
    outcome = pipeline.run(claim(submit(), "token-1"), RecordingContext())
    assert outcome.status is Status.SUCCEEDED
    assert outcome.warnings == ("odd light",)
    assert outcome.result is not None
    image = outcome.result["image"]
    assert "/token-1/" in image["key"]
    data = storage.get(image["key"], max_bytes=10**6)
    assert (image["bytes"], image["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert (image["width"], image["height"], image["format"]) == (64, 48, "png")
    before = restorer.photos[0].pixels
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), 255 - before)


def test_each_stage_is_reported_in_order(pipeline: Pipeline, submit: Submit) -> None:
    hold = RecordingContext()
    pipeline.run(claim(submit()), hold)
    heard = hold.steps
    assert [progress.stage for progress in heard] == [
        Stage.FETCHING,
        Stage.DETECTING,
        Stage.RESTORING,
        Stage.PUBLISHING,
    ]
    assert [progress.percent for progress in heard] == sorted(p.percent for p in heard)


def test_every_stage_is_timed(pipeline: Pipeline, submit: Submit) -> None:
    job = submit()
    started = dataclasses.replace(job, started_at=job.created_at + 1.5)
    timings = pipeline.run(claim(started), RecordingContext()).timings_ms
    assert set(timings) == {"queue", "fetch", "detect", "restore", "paste", "publish", "total"}
    assert timings["queue"] == 1500
    assert timings["total"] >= 1500 + timings["fetch"] + timings["publish"]


def test_comparison_and_crops_are_made_if_requested(
    pipeline: Pipeline, submit: Submit, storage: ObjectStorage
) -> None:
    job = submit(output={"comparison": True, "face_crops": True})
    result = pipeline.run(claim(job), RecordingContext()).result
    assert result is not None
    assert result["comparison"]["width"] >= 128
    assert {stored.key for stored in storage.list(f"tenants/acme/results/{job.id}/")} == {
        result["image"]["key"],
        result["comparison"]["key"],
        *result["faces"][0]["crop"].values(),
        f"tenants/acme/results/{job.id}/t/outcome.json",  # the seal
    }


def test_the_result_is_also_stored_under_the_tenants_key(
    pipeline: Pipeline, submit: Submit, storage: ObjectStorage
) -> None:
    result = pipeline.run(claim(submit(output={"key": "out/a.png"})), RecordingContext()).result
    assert result is not None
    copied = storage.get("tenants/acme/files/out/a.png", max_bytes=10**6)
    assert hashlib.sha256(copied).hexdigest() == result["image"]["sha256"]


def test_a_photo_is_fetched_from_its_url(pipeline: Pipeline, submit: Submit, origin: str) -> None:
    job = submit(source={"url": f"{origin}/photo.png"})
    assert pipeline.run(claim(job), RecordingContext()).status is Status.SUCCEEDED


def test_a_url_without_a_photo_is_an_input_error(
    pipeline: Pipeline, submit: Submit, origin: str
) -> None:
    with pytest.raises(InputNotFound):
        pipeline.run(claim(submit(source={"url": f"{origin}/none"})), RecordingContext())


def test_a_file_that_is_no_image_is_refused(
    pipeline: Pipeline, submit: Submit, storage: ObjectStorage
) -> None:
    storage.put("tenants/acme/files/a.txt", b"just words", "text/plain")
    with pytest.raises(UnsupportedImage):
        pipeline.run(claim(submit(source={"key": "tenants/acme/files/a.txt"})), RecordingContext())


def test_a_signed_manifest_is_stored_with_the_result(
    pipeline: Pipeline, submit: Submit, storage: ObjectStorage, png: bytes
) -> None:
    key = SigningKey(b"1" * 32)
    signing = dataclasses.replace(pipeline, signing_key=key)
    job = submit(options={"strength": 0.5})
    result = signing.run(claim(job), RecordingContext()).result
    assert result is not None
    data = storage.get(result["manifest"]["key"], max_bytes=10**6)
    statement = read_manifest(data, PublicKeys([key.public]))
    assert statement["job_id"] == job.id
    assert statement["input"]["sha256"] == hashlib.sha256(png).hexdigest()
    assert statement["output"]["sha256"] == result["image"]["sha256"]
    assert statement["options"]["strength"] == 0.5
    assert statement["model"] == result["model"]


def test_without_a_key_there_is_no_manifest(pipeline: Pipeline, submit: Submit) -> None:
    result = pipeline.run(claim(submit()), RecordingContext()).result
    assert result is not None
    assert "manifest" not in result


# --- quarantine -----------------------------------------------------------------------------


def test_the_photo_of_a_suspect_is_kept_apart_while_it_runs(
    pipeline: Pipeline, submit: Submit, storage: ObjectStorage, png: bytes, origin: str
) -> None:
    class Crashing:
        def restore(self, *_: object, **__: object) -> object:
            raise EngineCrashed

    job = submit(source={"url": f"{origin}/photo.png"})
    crashing = dataclasses.replace(pipeline, engine=Crashing())
    with pytest.raises(EngineCrashed):
        crashing.run(Claim(job, "t"), RecordingContext())
    assert list(storage.list("tenants/acme/quarantine/")) == []
    with pytest.raises(EngineCrashed):
        crashing.run(Claim(job, "t", suspect=True), RecordingContext())
    assert storage.get(quarantine_key("acme", job.id), max_bytes=10**7) == png


def test_a_suspect_runs_from_the_copy_and_the_copy_goes_when_it_succeeds(
    pipeline: Pipeline, submit: Submit, storage: ObjectStorage, png: bytes
) -> None:
    job = submit(source={"url": "http://127.0.0.1:9/gone.png"})
    storage.put(quarantine_key("acme", job.id), png, "application/octet-stream")
    outcome = pipeline.run(Claim(job, "t", suspect=True), RecordingContext())
    assert outcome.status is Status.SUCCEEDED
    assert list(storage.list("tenants/acme/quarantine/")) == []
