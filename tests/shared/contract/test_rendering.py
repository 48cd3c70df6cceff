"""How a job becomes the resource that clients see."""

from __future__ import annotations

from typing import Any

import pytest

from shared.contract.rendering import represent
from shared.jobs.job import Job, Priority, Progress, Stage, Status
from shared.storage.bucket import ObjectStorage

FACE = {
    "index": 0,
    "box": [1.0, 2.0, 3.0, 4.0],
    "landmarks": [[1.0, 2.0]] * 5,
    "score": 0.9,
    "status": "restored",
    "reason": None,
    "crop": None,
}
IMAGE = {
    "key": "k",
    "width": 4,
    "height": 3,
    "format": "png",
    "bytes": 7,
    "sha256": "0" * 64,
}
MODEL = {"name": "m", "sha256": "1" * 64, "precision": "fp32", "backend": "torch"}


def job(**fields: Any) -> Job:
    plain: dict[str, Any] = {
        "id": "job_1",
        "tenant": "acme",
        "status": Status.QUEUED,
        "model": "m",
        "priority": Priority.NORMAL,
        "request": {},
        "source": {"key": "k"},
        "created_at": 1.0,
    }
    return Job(**(plain | fields))


def test_the_progress_of_a_succeeded_job_is_100_percent(storage: ObjectStorage) -> None:
    skipped = FACE | {"index": 1, "status": "skipped", "reason": "small"}
    result = {"image": IMAGE, "faces": [FACE, skipped], "model": MODEL}
    ended = represent(job(status=Status.SUCCEEDED, result=result), storage)
    assert ended.progress is not None
    assert ended.progress.model_dump() == {
        "stage": "publishing",
        "faces_done": 1,
        "faces_total": 2,
        "percent": 100,
    }


@pytest.mark.parametrize("status", [Status.RUNNING, Status.FAILED, Status.CANCELED])
def test_any_other_job_shows_how_far_it_came(storage: ObjectStorage, status: Status) -> None:
    shown = represent(job(status=status, progress=Progress(Stage.RESTORING, 1, 2)), storage)
    assert shown.progress is not None
    assert (shown.progress.stage, shown.progress.percent) == (Stage.RESTORING, 55)


def test_a_queued_job_shows_its_position_and_the_estimated_wait(storage: ObjectStorage) -> None:
    shown = represent(job(queue_position=3, queue_eta_s=1.5), storage)
    assert shown.queue is not None
    assert (shown.queue.position, shown.queue.eta_s) == (3, 1.5)
    assert shown.queue.eta_reason is None
