"""Manifests and records that disagree, and what a sweep makes of it."""

from __future__ import annotations

import logging

import pytest
from redis import Redis

from shared.jobs.job import Status
from shared.jobs.store import JobStore
from shared.manifests.manifests import Manifests
from shared.storage.keys import manifest_key
from tests.jobs import TENANT, new_job
from tests.worker.conftest import Admit
from tests.worker.later import FAILED, HOUR, LaterStorage, claim, keys
from worker.notifier.sweeper import Sweeper


def test_only_manifests_of_unfinished_jobs_are_kept(
    store: JobStore, objects: LaterStorage, sweeper: Sweeper, admit: Admit
) -> None:
    waiting, running, failed, canceled, erased = (admit() for _ in range(5))
    claim(store, running)
    store.runs.finish(failed.id, claim(store, failed).token, FAILED)
    store.cancel(TENANT, canceled.id)
    store.erase(TENANT, erased.id)
    objects.later_s = 48 * HOUR

    assert sweeper.sweep_manifests() == 3
    assert sweeper.sweep_manifests() == 0
    left = {key for key in keys(objects) if key.startswith("jobs/")}
    assert left == {manifest_key(TENANT, new.id, 1) for new in (waiting, running)}


def test_a_retried_job_keeps_only_the_manifest_of_its_new_generation(
    store: JobStore, objects: LaterStorage, sweeper: Sweeper, admit: Admit
) -> None:
    new = admit()
    store.cancel(TENANT, new.id)
    Manifests(objects).write(new, generation=2)
    store.retry(TENANT, new.id)
    sweeper.sweep_manifests()
    left = {key for key in keys(objects) if key.startswith("jobs/")}
    assert left == {manifest_key(TENANT, new.id, 2)}
    assert store.get(TENANT, new.id).status is Status.QUEUED


def test_a_lost_record_is_restored_once_its_admission_must_be_over(
    store: JobStore, objects: LaterStorage, sweeper: Sweeper, admit: Admit, redis: Redis
) -> None:
    other, lost = admit(), new_job()
    Manifests(objects).write(lost)
    assert sweeper.sweep_manifests() == 0
    objects.later_s = 90  # real time passes too
    assert sweeper.sweep_manifests() == 0
    objects.later_s = 120
    assert sweeper.sweep_manifests() == 1
    assert sweeper.sweep_manifests() == 0
    assert store.get(TENANT, lost.id).status is Status.QUEUED
    assert store.counts()["queued"] == 2
    assert store.get(TENANT, other.id).attempt == 0


def test_a_slow_admission_gets_the_job_that_the_sweep_restored(
    store: JobStore, objects: LaterStorage, sweeper: Sweeper
) -> None:
    new = new_job()
    Manifests(objects).write(new)
    objects.later_s = HOUR
    sweeper.sweep_manifests()
    assert store.create(new).id == new.id
    assert store.counts()["queued"] == 1


def test_a_lost_retry_is_made_again(
    store: JobStore, objects: LaterStorage, sweeper: Sweeper, admit: Admit
) -> None:
    new = admit()
    store.runs.finish(new.id, claim(store, new).token, FAILED)
    Manifests(objects).write(new, generation=2)
    sweeper.sweep_manifests()
    assert store.get(TENANT, new.id).status is Status.FAILED  # the retry may be under way
    objects.later_s = 120
    sweeper.sweep_manifests()
    job = store.get(TENANT, new.id)
    assert (job.status, job.generation) == (Status.QUEUED, 2)
    sweeper.sweep_manifests()
    left = {key for key in keys(objects) if key.startswith("jobs/")}
    assert left == {manifest_key(TENANT, new.id, 2)}


def test_a_repeated_request_creates_one_job(
    store: JobStore, objects: LaterStorage, sweeper: Sweeper, admit: Admit
) -> None:
    keyed = {"idempotency_key": "once", "idempotency_fingerprint": "f"}
    Manifests(objects).write(dead_end := new_job(**keyed))  # killed before its record was made
    store.idempotency.begin("key_1", "once", "f")
    sent_again = admit(**keyed)
    objects.later_s = 120
    sweeper.sweep_manifests()
    assert [job.id for job in store.page(TENANT)[0]] == [sent_again.id]
    assert manifest_key(TENANT, dead_end.id, 1) not in keys(objects)


def test_an_unreadable_manifest_does_not_delay_others(
    store: JobStore,
    objects: LaterStorage,
    sweeper: Sweeper,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = manifest_key("a", "job_" + "0" * 32, 1)  # the first in the listing
    objects.put(broken, b"{", "application/json")
    Manifests(objects).write(lost := new_job())
    objects.later_s = 120
    with caplog.at_level(logging.ERROR):
        assert sweeper.sweep_manifests() == 1
    assert store.get(TENANT, lost.id).status is Status.QUEUED
    assert broken in caplog.text
