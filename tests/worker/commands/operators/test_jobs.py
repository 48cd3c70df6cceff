from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from shared.jobs.job import Job, Status
from shared.jobs.record import Outcome
from shared.jobs.store import JobStore
from shared.storage.bucket import ObjectStorage
from tests.jobs import new_job
from worker.cli import main

SECRET = "https://photos.example/a.jpg?token=SeCrEt"
Facemend = Callable[..., Result]


@pytest.fixture
def facemend(
    stack_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, store: JobStore
) -> Facemend:
    """Run ``facemend …`` as a shell would, on the Redis and S3 of the tests."""
    for name, value in stack_settings.items():
        monkeypatch.setenv(f"FACEMEND_{name.upper()}", str(value))
    return lambda *words: CliRunner().invoke(main, list(words), catch_exceptions=False)


@pytest.fixture
def failed(store: JobStore, storage: ObjectStorage) -> Job:
    """A job of a tenant whose photo is in the storage, and that has failed."""
    put = storage.put("tenants/globex/inputs/photo", b"x", "image/png")
    job = store.create(
        new_job(tenant="globex", source={"key": put.key, "etag": put.etag, "bytes": 1})
    )
    claim = store.runs.claim(job.id, "w-1")
    assert claim
    error = {"code": "out-of-memory", "detail": "The device has too little memory"}
    store.runs.finish(job.id, claim.token, Outcome(Status.FAILED, error=error))
    return store.get("globex", job.id)


def test_jobs_of_all_tenants_are_listed_newest_first(
    facemend: Facemend, store: JobStore, failed: Job
) -> None:
    queued = store.create(new_job(tenant="acme"))
    lines = facemend("jobs", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == [queued.id, failed.id]
    assert lines[1].split()[3:] == ["failed", "globex", failed.model, "out-of-memory"]
    assert queued.id not in facemend("jobs", "list", "--status", "failed").stdout
    assert failed.id not in facemend("jobs", "list", "--tenant", "acme").stdout
    assert facemend("jobs", "list", "--model", "other").stdout == ""


def test_json_has_the_records_for_programs(facemend: Facemend, failed: Job) -> None:
    (found,) = json.loads(facemend("jobs", "list", "--json").stdout)
    assert (found["id"], found["status"]) == (failed.id, "failed")
    assert found["error"]["code"] == "out-of-memory"


def test_one_job_is_shown_with_its_error_and_key_and_without_secrets_of_its_address(
    facemend: Facemend, store: JobStore
) -> None:
    job = store.create(new_job(source={"url": SECRET}, request_id="req_1"))
    shown, content = facemend("jobs", "show", job.id), facemend("jobs", "show", job.id, "--json")
    assert "req_1" in shown.stdout
    assert json.loads(content.stdout)["key_id"]
    assert json.loads(content.stdout)["source"] == {"url": "https://photos.example/a.jpg"}
    assert "SeCrEt" not in shown.stdout + content.stdout


def test_jobs_of_any_tenant_are_canceled(facemend: Facemend, store: JobStore) -> None:
    queued, running = store.create(new_job(model="a")), store.create(new_job(model="b"))
    assert store.runs.claim(running.id, "w-1")
    done = facemend("jobs", "cancel", queued.id, running.id)
    assert done.stdout.splitlines() == [f"{queued.id} canceled", f"{running.id} stops soon"]
    assert store.get("acme", queued.id).status is Status.CANCELED


def test_a_failed_job_is_queued_again_with_its_next_manifest(
    facemend: Facemend, store: JobStore, storage: ObjectStorage, failed: Job
) -> None:
    done = facemend("jobs", "retry", failed.id)
    assert done.stdout == f"{failed.id} queued\n"
    assert store.get("globex", failed.id).generation == 2
    manifests = [each.key for each in storage.list("jobs/")]
    assert manifests == [f"jobs/globex/{failed.id}.2.json"]


def test_a_job_that_has_not_failed_is_not_queued_again(
    facemend: Facemend, store: JobStore, storage: ObjectStorage
) -> None:
    job = store.create(new_job())
    done = facemend("jobs", "retry", job.id)
    assert done.exit_code == 2
    assert "conflict: The job is queued" in done.stderr
    assert list(storage.list("jobs/")) == []


def test_an_unknown_job_is_an_error(facemend: Facemend) -> None:
    done = facemend("jobs", "show", "job_" + "1" * 32)
    assert (done.exit_code, done.stderr.split(":")[0]) == (2, "not-found")
