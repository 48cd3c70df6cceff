"""Objects and records that disagree, and what a sweep makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from redis import Redis

from shared.errors import Unavailable
from shared.jobs.job import Release, Status
from shared.jobs.record import Outcome
from shared.jobs.store import JobStore
from shared.manifests.manifests import Manifests
from shared.storage.bucket import StoredObject
from shared.storage.keys import file_key, input_key, quarantine_key
from tests.jobs import TENANT, new_job
from tests.worker.conftest import Admit
from tests.worker.later import DONE, FAILED, HOUR, LaterStorage, claim, keys, picture, put
from worker.notifier.sweeper import Sweeper

# --- results --------------------------------------------------------------------------------


def test_only_the_run_that_ended_a_job_keeps_its_objects(
    store: JobStore, objects: LaterStorage, sweeper: Sweeper, admit: Admit
) -> None:
    new = admit()
    first = claim(store, new)
    put(objects, picture(new, first.token))
    store.runs.release(new.id, first.token, Release.DRAIN)
    second = claim(store, new)
    put(objects, picture(new, second.token))
    assert sweeper.sweep_objects() == 1  # the run that goes on is left alone
    store.runs.finish(new.id, second.token, DONE)
    put(objects, picture(new, first.token))  # the zombie writes late
    assert sweeper.sweep_objects() == 1
    assert picture(new, second.token) in keys(objects)
    assert picture(new, first.token) not in keys(objects)
    assert sweeper.sweep_objects() == 0


def test_the_objects_of_a_run_that_was_killed_before_its_end_are_deleted(
    store: JobStore, objects: LaterStorage, sweeper: Sweeper, admit: Admit
) -> None:
    new = admit()
    killed = claim(store, new)
    put(objects, picture(new, killed.token))
    Manifests(objects).seal(TENANT, new.id, killed.token, DONE)
    store.runs.release(new.id, killed.token, Release.LOST)  # as the reaper does
    assert sweeper.sweep_objects() == 2
    assert {key for key in keys(objects) if "/results/" in key} == set()


@pytest.mark.parametrize("outcome", [FAILED, Outcome(Status.CANCELED)])
def test_a_job_without_a_result_keeps_no_objects(
    store: JobStore, objects: LaterStorage, sweeper: Sweeper, admit: Admit, outcome: Outcome
) -> None:
    new = admit()
    run = claim(store, new)
    put(objects, picture(new, run.token))
    store.runs.finish(new.id, run.token, outcome)
    assert sweeper.sweep_objects() == 1
    assert {key for key in keys(objects) if "/results/" in key} == set()


def test_after_an_erasure_the_objects_of_a_late_run_are_deleted_too(
    store: JobStore, objects: LaterStorage, sweeper: Sweeper, admit: Admit
) -> None:
    new = admit()
    run = claim(store, new)
    store.erase(TENANT, new.id)
    put(objects, picture(new, run.token), picture(new, "another"))
    sweeper.sweep_manifests()
    sweeper.sweep_objects()
    assert keys(objects) == set()


def test_old_objects_that_belong_to_no_job_are_deleted(
    objects: LaterStorage, sweeper: Sweeper
) -> None:
    unheard = new_job()
    put(objects, picture(unheard, "t"), input_key(TENANT, unheard.id))
    objects.later_s = 870
    assert sweeper.sweep_objects() == 0  # a photo waits for its record, a record for its rebuilding
    objects.later_s = 901
    assert sweeper.sweep_objects() == 1
    assert keys(objects) == {input_key(TENANT, unheard.id)}  # an upload may still be submitted
    objects.later_s = HOUR + 901
    assert sweeper.sweep_objects() == 1
    assert keys(objects) == set()


def test_a_tenants_own_objects_are_never_deleted(objects: LaterStorage, sweeper: Sweeper) -> None:
    own = [file_key(TENANT, name) for name in ("a.png", "inputs/b.png", "results/job_1/t/c.png")]
    put(objects, *own, "elsewhere/d.png")
    objects.later_s = 365 * 24 * HOUR
    sweeper.sweep_objects()
    sweeper.sweep_manifests()
    assert keys(objects) == {*own, "elsewhere/d.png"}


# --- photos ---------------------------------------------------------------------------------


def test_a_photo_is_deleted_after_a_day_but_not_before_its_job_has_ended(
    store: JobStore, objects: LaterStorage, sweeper: Sweeper, admit: Admit
) -> None:
    waiting, running, ended, canceled = (admit() for _ in range(4))
    claim(store, running)
    store.runs.finish(ended.id, claim(store, ended).token, DONE)
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
    stopping = Sweeper(store, objects, input_ttl_s=1, upload_ttl_s=0, stopping=lambda: True)
    assert (stopping.sweep_manifests(), stopping.sweep_objects()) == (0, 0)
    assert keys(objects) == before


# --- a Redis that does not know -------------------------------------------------------------


def test_nothing_is_deleted_after_redis_was_emptied(
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


def test_nothing_is_deleted_if_redis_is_emptied_during_a_sweep(
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
    careful = Sweeper(store, Emptied(), input_ttl_s=1, upload_ttl_s=0)
    with pytest.raises(Unavailable):
        careful.sweep_objects()
    assert keys(objects) == before


def test_a_photo_stays_in_quarantine_only_with_a_failed_job_or_one_that_may_fail(
    store: JobStore, objects: LaterStorage, sweeper: Sweeper, admit: Admit
) -> None:
    waiting, failed, done, erased = (admit() for _ in range(4))
    store.runs.finish(failed.id, claim(store, failed).token, FAILED)
    store.runs.finish(done.id, claim(store, done).token, DONE)
    store.erase(TENANT, erased.id)
    photos = {new.id: quarantine_key(TENANT, new.id) for new in (waiting, failed, done, erased)}
    put(objects, *photos.values())
    sweeper.sweep_objects()
    left = {key for key in keys(objects) if "/quarantine/" in key}
    assert left == {photos[waiting.id], photos[failed.id]}
