"""Objects and records that disagree, and what a sweep makes of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from shared.errors import Unavailable
from shared.jobs import Priority, Release, Status, new_id
from shared.manifest import Manifests
from shared.settings import Settings
from shared.storage import (
    INSTALLATION,
    ObjectStorage,
    StoredObject,
    file_key,
    input_key,
    manifest_key,
    result_key,
)
from shared.store import Claim, JobStore, NewJob, Outcome
from worker.sweeper import Sweeper

TENANT = "acme"
HOUR = 3_600.0
DONE = Outcome(Status.SUCCEEDED, result={"faces": []})
FAILED = Outcome(Status.FAILED, error={"code": "corrupt-image"})


class LaterStorage(ObjectStorage):
    """The same objects, seen ``later_s`` from now."""

    later_s = 0.0

    def list(self, prefix: str) -> Iterator[StoredObject]:
        for stored in super().list(prefix):
            yield replace(stored, age_s=(stored.age_s or 0.0) + self.later_s)


@pytest.fixture(scope="module")
def later_storage(stack_settings: dict[str, Any]) -> Iterator[LaterStorage]:
    storage = LaterStorage(Settings(_env_file=None, **stack_settings))
    yield storage
    storage._client.close()


@pytest.fixture
def objects(later_storage: LaterStorage, storage: ObjectStorage) -> LaterStorage:
    later_storage.later_s = 0.0
    return later_storage


@pytest.fixture
def sweeper(store: JobStore, objects: LaterStorage) -> Sweeper:
    return Sweeper(store, objects, input_ttl_s=24 * HOUR)


def new_job(**fields: object) -> NewJob:
    job_id = new_id("job")
    plain: dict[str, object] = {
        "id": job_id,
        "tenant": TENANT,
        "key_id": "key_1",
        "model": job_id,  # a queue of its own: a claim takes whoever is next
        "priority": Priority.NORMAL,
        "request": {"metadata": {}},
        "source": {"key": input_key(TENANT, job_id), "etag": "e"},
    }
    return NewJob(**(plain | fields))  # type: ignore[arg-type]


Admit = Callable[..., NewJob]


@pytest.fixture
def admit(store: JobStore, objects: ObjectStorage) -> Admit:
    """As the API does: the photo, the manifest, the record."""

    def admit(**fields: object) -> NewJob:
        new = new_job(**fields)
        put(objects, input_key(TENANT, new.id))
        Manifests(objects).write(new)
        store.create(new)
        return new

    return admit


def put(storage: ObjectStorage, *keys: str) -> None:
    for key in keys:
        storage.put(key, b"x", "image/png")


def claim(store: JobStore, new: NewJob) -> Claim:
    claim = store.claim(new.id, "worker-1")
    assert claim is not None
    assert claim.job.id == new.id
    return claim


def keys(storage: ObjectStorage) -> set[str]:
    return {stored.key for stored in storage.list("")} - {INSTALLATION}


def picture(new: NewJob, token: str) -> str:
    return result_key(TENANT, new.id, token, "restored.png")


# --- manifests ------------------------------------------------------------------------------


def test_the_manifest_of_an_unfinished_job_stays_that_of_an_ended_one_goes(
    store: JobStore, objects: LaterStorage, sweeper: Sweeper, admit: Admit
) -> None:
    waiting, running, failed, canceled, erased = (admit() for _ in range(5))
    claim(store, running)
    store.finish(failed.id, claim(store, failed).token, FAILED)
    store.cancel(TENANT, canceled.id)
    store.erase(TENANT, erased.id)
    objects.later_s = 48 * HOUR

    assert sweeper.sweep_manifests() == 3
    assert sweeper.sweep_manifests() == 0
    left = {key for key in keys(objects) if key.startswith("jobs/")}
    assert left == {manifest_key(TENANT, new.id, 1) for new in (waiting, running)}


def test_a_retried_job_keeps_the_manifest_of_its_new_generation_alone(
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


def test_a_job_that_redis_has_lost_is_brought_back_but_none_that_is_being_admitted(
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


def test_an_admission_that_was_slower_than_the_sweep_finds_its_own_job(
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
    store.finish(new.id, claim(store, new).token, FAILED)
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


def test_a_request_that_was_sent_again_makes_one_job(
    store: JobStore, objects: LaterStorage, sweeper: Sweeper, admit: Admit
) -> None:
    keyed = {"idempotency_key": "once", "idempotency_fingerprint": "f"}
    Manifests(objects).write(dead_end := new_job(**keyed))  # killed before its record was made
    store.begin_idempotent("key_1", "once", "f")
    sent_again = admit(**keyed)
    objects.later_s = 120
    sweeper.sweep_manifests()
    assert [job.id for job in store.list(TENANT)[0]] == [sent_again.id]
    assert manifest_key(TENANT, dead_end.id, 1) not in keys(objects)


def test_a_manifest_that_cannot_be_read_holds_up_no_other(
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


# --- results --------------------------------------------------------------------------------


def test_of_a_jobs_runs_only_the_one_that_counts_keeps_its_objects(
    store: JobStore, objects: LaterStorage, sweeper: Sweeper, admit: Admit
) -> None:
    new = admit()
    first = claim(store, new)
    put(objects, picture(new, first.token))
    store.release(new.id, first.token, Release.DRAIN)
    second = claim(store, new)
    put(objects, picture(new, second.token))
    assert sweeper.sweep_objects() == 1  # the run that goes on is left alone
    store.finish(new.id, second.token, DONE)
    put(objects, picture(new, first.token))  # the zombie writes late
    assert sweeper.sweep_objects() == 1
    assert picture(new, second.token) in keys(objects)
    assert picture(new, first.token) not in keys(objects)
    assert sweeper.sweep_objects() == 0


def test_a_run_killed_between_its_result_and_its_end_leaves_nothing(
    store: JobStore, objects: LaterStorage, sweeper: Sweeper, admit: Admit
) -> None:
    new = admit()
    killed = claim(store, new)
    put(objects, picture(new, killed.token))
    Manifests(objects).seal(TENANT, new.id, killed.token, DONE)
    store.release(new.id, killed.token, Release.LOST)  # as the reaper does
    assert sweeper.sweep_objects() == 2
    assert {key for key in keys(objects) if "/results/" in key} == set()


@pytest.mark.parametrize("outcome", [FAILED, Outcome(Status.CANCELED)])
def test_a_job_without_a_result_keeps_no_objects(
    store: JobStore, objects: LaterStorage, sweeper: Sweeper, admit: Admit, outcome: Outcome
) -> None:
    new = admit()
    run = claim(store, new)
    put(objects, picture(new, run.token))
    store.finish(new.id, run.token, outcome)
    assert sweeper.sweep_objects() == 1
    assert {key for key in keys(objects) if "/results/" in key} == set()


def test_after_an_erase_nothing_is_left_even_if_a_zombie_writes_late(
    store: JobStore, objects: LaterStorage, sweeper: Sweeper, admit: Admit
) -> None:
    new = admit()
    run = claim(store, new)
    store.erase(TENANT, new.id)
    put(objects, picture(new, run.token), picture(new, "another"))
    sweeper.sweep_manifests()
    sweeper.sweep_objects()
    assert keys(objects) == set()


def test_objects_that_nobody_has_ever_heard_of_go_when_they_are_old(
    objects: LaterStorage, sweeper: Sweeper
) -> None:
    unheard = new_job()
    put(objects, picture(unheard, "t"), input_key(TENANT, unheard.id))
    objects.later_s = 870
    assert sweeper.sweep_objects() == 0  # a photo waits for its record, a record for its rebuilding
    objects.later_s = 901
    assert sweeper.sweep_objects() == 2
    assert keys(objects) == set()


def test_what_a_tenant_has_put_there_itself_is_never_touched(
    objects: LaterStorage, sweeper: Sweeper
) -> None:
    own = [file_key(TENANT, name) for name in ("a.png", "inputs/b.png", "results/job_1/t/c.png")]
    put(objects, *own, "elsewhere/d.png")
    objects.later_s = 365 * 24 * HOUR
    sweeper.sweep_objects()
    sweeper.sweep_manifests()
    assert keys(objects) == {*own, "elsewhere/d.png"}


# --- photos ---------------------------------------------------------------------------------


def test_a_photo_goes_after_a_day_but_not_before_its_job_has_ended(
    store: JobStore, objects: LaterStorage, sweeper: Sweeper, admit: Admit
) -> None:
    waiting, running, ended, canceled = (admit() for _ in range(4))
    claim(store, running)
    store.finish(ended.id, claim(store, ended).token, DONE)
    store.cancel(TENANT, canceled.id)

    def photos() -> Iterable[str]:
        return sorted(key for key in keys(objects) if "/inputs/" in key)

    objects.later_s = 23 * HOUR
    sweeper.sweep_objects()
    assert len(list(photos())) == 4
    objects.later_s = 25 * HOUR
    sweeper.sweep_objects()
    assert photos() == sorted(input_key(TENANT, new.id) for new in (waiting, running))


def test_a_sweep_stops_when_the_process_does(
    store: JobStore, objects: LaterStorage, admit: Admit
) -> None:
    store.cancel(TENANT, admit().id)
    put(objects, picture(new_job(), "t"))
    objects.later_s = 48 * HOUR
    before = keys(objects)
    stopping = Sweeper(store, objects, input_ttl_s=1, stopping=lambda: True)
    assert (stopping.sweep_manifests(), stopping.sweep_objects()) == (0, 0)
    assert keys(objects) == before


# --- a Redis that does not know -------------------------------------------------------------


def test_an_emptied_redis_dooms_nothing(
    store: JobStore, objects: LaterStorage, sweeper: Sweeper, admit: Admit, redis: Redis
) -> None:
    new = admit()
    put(objects, picture(new, claim(store, new).token))
    sweeper.sweep_manifests()
    before = keys(objects)
    redis.flushdb()
    objects.later_s = 365 * 24 * HOUR
    for sweep in (sweeper.sweep_manifests, sweeper.sweep_objects):
        with pytest.raises(Unavailable, match="facemend rebuild"):
            sweep()
    assert keys(objects) == before
    assert redis.keys("*") == []


def test_a_redis_emptied_in_the_middle_of_a_sweep_dooms_nothing(
    store: JobStore, objects: LaterStorage, sweeper: Sweeper, admit: Admit, redis: Redis
) -> None:
    class Emptied(LaterStorage):
        """Between the listing and the look into the records, Redis goes."""

        def __init__(self) -> None:
            self.__dict__ |= objects.__dict__

        def list(self, prefix: str) -> Iterator[StoredObject]:
            yield from objects.list(prefix)
            redis.flushdb()

    new = admit()
    put(objects, picture(new, "old"))
    sweeper.sweep_manifests()
    before = keys(objects)
    objects.later_s = HOUR
    careful = Sweeper(store, Emptied(), input_ttl_s=1)
    with pytest.raises(Unavailable):
        careful.sweep_objects()
    assert keys(objects) == before
