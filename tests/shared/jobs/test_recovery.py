"""Records made again from manifests, and what the records know of jobs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from shared.errors import IdempotencyMismatch, NotFound, Unavailable
from shared.jobs.job import Priority, Release, Status, new_id
from shared.jobs.record import NewJob, outcome_json
from shared.jobs.recovery import Manifest, Revival, SealedRun
from shared.jobs.store import JobStore
from shared.manifests.manifests import Manifests, Promise
from shared.storage.bucket import ObjectStorage
from tests.shared.conftest import BROKEN, DONE, at_once, claimed, redis_time

NewJobs = Callable[..., NewJob]
Remember = Callable[..., Manifest]
SEALED = SealedRun("token-of-the-run", outcome_json(DONE))


@pytest.fixture
def remember(storage: ObjectStorage) -> Remember:
    """Write a job's manifest and read it again."""
    manifests = Manifests(storage)

    def remember(new: NewJob, generation: int = 1) -> Manifest:
        manifests.write(new, generation)
        manifest = manifests.read(Promise(new.tenant, new.id, generation, 0.0))
        assert manifest is not None
        return manifest

    return remember


# --- revival --------------------------------------------------------------------------------


def test_a_lost_job_is_as_it_was_and_can_be_done(
    store: JobStore, new_job: NewJobs, remember: Remember, redis: Redis
) -> None:
    new = new_job(priority=Priority.HIGH)
    before, manifest = store.create(new), remember(new)
    redis.flushdb()

    assert store.recovery.revive(manifest, age_s=100) is Revival.QUEUED
    job = store.get("acme", new.id)
    assert (job.id, job.tenant, job.model, job.priority) == (new.id, "acme", "starter", "high")
    assert (job.request, job.source, job.generation) == (before.request, before.source, 1)
    assert job.created_at == pytest.approx(redis_time(redis) - 100, abs=60)
    assert [each.id for each in store.due()] == [new.id]
    assert [each.id for each in store.list("acme")[0]] == [new.id]

    claim = store.claim(new.id, "w")
    assert claim is not None
    assert store.finish(new.id, claim.token, DONE)
    (delivery,) = [
        each for each in store.deliveries("acme", new.id) if "succeeded" in each["event"]
    ]
    assert delivery["url"] == "http://127.0.0.1:9/hook"


def test_reviving_again_or_at_once_changes_nothing(
    store: JobStore, new_job: NewJobs, remember: Remember
) -> None:
    manifest = remember(new := new_job())
    came = at_once(8, lambda _: store.recovery.revive(manifest, age_s=1))
    assert sorted(came) == [*[Revival.KNOWN] * 7, Revival.QUEUED]
    job = store.get("acme", new.id)
    claimed_once = store.claim(new.id, "w")
    assert claimed_once
    assert store.recovery.revive(manifest, age_s=1) is Revival.KNOWN
    assert store.get("acme", new.id).created_at == job.created_at
    assert store.counts()["running"] == 1


def test_a_job_that_has_ended_is_not_run_again(
    store: JobStore, new_job: NewJobs, remember: Remember
) -> None:
    claim = claimed(store, new := new_job())
    store.finish(new.id, claim.token, BROKEN)
    assert store.recovery.revive(remember(new), age_s=1) is Revival.KNOWN
    assert store.get("acme", new.id).status is Status.FAILED


def test_an_erased_job_stays_erased(store: JobStore, new_job: NewJobs, remember: Remember) -> None:
    store.create(new := new_job())
    store.erase("acme", new.id)
    assert store.recovery.revive(remember(new), age_s=1) is Revival.ERASED
    with pytest.raises(NotFound):
        store.get("acme", new.id)


def test_a_run_that_had_succeeded_is_not_run_again_and_tells_of_it_under_the_same_event_id(
    store: JobStore, new_job: NewJobs, remember: Remember, redis: Redis
) -> None:
    claim = claimed(store, new := new_job())
    manifest = remember(new)
    store.finish(new.id, claim.token, DONE)
    told = {each["event"]: each["event_id"] for each in store.deliveries("acme", new.id)}
    redis.flushdb()

    assert store.recovery.revive(manifest, age_s=5, sealed=SEALED) is Revival.SUCCEEDED
    job = store.get("acme", new.id)
    assert (job.status, job.result, job.warnings) == (Status.SUCCEEDED, DONE.result, DONE.warnings)
    assert job.expires_at is not None
    assert store.due() == []
    assert store.claim(new.id, "w") is None
    again = {each["event"]: each["event_id"] for each in store.deliveries("acme", new.id)}
    assert again["restoration.succeeded"] == told["restoration.succeeded"]
    name = store.recovery.name_installation("here")
    known = store.recovery.whereabouts(name, [new.id])[new.id]
    assert (known.status, known.token) == (Status.SUCCEEDED, SEALED.token)
    assert {name: count for name, count in store.counts().items() if count} == {
        "kept": 1,
        "deliveries_pending": 1,
    }


def test_a_revived_job_keeps_its_deadline(
    store: JobStore, new_job: NewJobs, remember: Remember
) -> None:
    late = remember(new_job(start_before_s=60))
    early = remember(new_job(start_before_s=60))
    for manifest, age_s in ((late, 61), (early, 30)):
        assert store.recovery.revive(manifest, age_s=age_s) is Revival.QUEUED
    assert store.reap() == [(late.id, Status.FAILED)]
    error = store.get("acme", late.id).error
    assert error is not None
    assert error["code"] == "deadline-exceeded"
    assert store.get("acme", early.id).status is Status.QUEUED


def test_an_idempotency_key_finds_its_revived_job(
    store: JobStore, new_job: NewJobs, remember: Remember
) -> None:
    manifest = remember(
        new := new_job(idempotency_key="once", idempotency_fingerprint="this request")
    )
    store.recovery.revive(manifest, age_s=10)
    assert store.begin_idempotent("key_1", "once", "this request") == new.id
    with pytest.raises(IdempotencyMismatch):
        store.begin_idempotent("key_1", "once", "another request")


def test_an_idempotency_key_of_yesterday_is_free_again(
    store: JobStore, new_job: NewJobs, remember: Remember
) -> None:
    manifest = remember(new_job(idempotency_key="once", idempotency_fingerprint="f"))
    store.recovery.revive(manifest, age_s=86_400)
    assert store.begin_idempotent("key_1", "once", "f") is None


def test_of_two_manifests_with_one_idempotency_key_the_accepted_job_is_the_one(
    store: JobStore, new_job: NewJobs, remember: Remember
) -> None:
    keyed = {"idempotency_key": "once", "idempotency_fingerprint": "f"}
    never_made, sent_again = new_job(**keyed), new_job(**keyed)
    store.begin_idempotent("key_1", "once", "f")
    store.create(sent_again)
    assert store.recovery.revive(remember(never_made), age_s=200) is Revival.SUPERSEDED
    store.erase("acme", sent_again.id)  # nor is it made when the other one is gone for good
    with pytest.raises(NotFound):
        store.get("acme", never_made.id)


def test_nobody_asks_a_revived_job_for_room(
    store_with: Callable[..., JobStore], new_job: NewJobs, remember: Remember
) -> None:
    store = store_with(max_queued_per_tenant=1)
    store.create(new_job())
    assert store.recovery.revive(remember(new_job()), age_s=1) is Revival.QUEUED


def test_a_retry_that_redis_has_lost_is_told_from_the_job_it_repeats(
    store: JobStore, new_job: NewJobs, remember: Remember, redis: Redis
) -> None:
    claim = claimed(store, new := new_job())
    store.finish(new.id, claim.token, BROKEN)
    retried = remember(new, generation=2)
    assert store.recovery.revive(retried, age_s=1) is Revival.OLDER
    store.retry("acme", new.id)
    assert store.recovery.revive(retried, age_s=1) is Revival.KNOWN
    redis.flushdb()
    assert store.recovery.revive(retried, age_s=1) is Revival.QUEUED
    assert store.get("acme", new.id).generation == 2


@pytest.mark.parametrize("sealed", [None, SEALED])
def test_a_dry_run_tells_the_same_and_does_nothing(
    store: JobStore, new_job: NewJobs, remember: Remember, redis: Redis, sealed: SealedRun | None
) -> None:
    manifest = remember(new_job(idempotency_key="once", idempotency_fingerprint="f"))
    foretold = store.recovery.revive(manifest, age_s=1, sealed=sealed, dry_run=True)
    assert redis.keys("*") == []
    assert store.recovery.revive(manifest, age_s=1, sealed=sealed) is foretold


# --- whereabouts ----------------------------------------------------------------------------


def test_what_the_records_know_of_jobs(store: JobStore, new_job: NewJobs) -> None:
    here = store.recovery.name_installation("here")
    store.create(waiting := new_job())
    running = claimed(store, new_job(model="other"))
    done = claimed(store, new_job(model="third"))
    store.finish(done.job.id, done.token, DONE)
    released = claimed(store, new_job(model="fourth"))
    store.release(released.job.id, released.token, Release.DRAIN)
    store.create(erased := new_job())
    store.erase("acme", erased.id)
    never = new_id("job")

    jobs = [waiting.id, running.job.id, done.job.id, released.job.id, erased.id, never]
    known = store.recovery.whereabouts(here, jobs)
    assert [(known[job].status, known[job].token, known[job].erased) for job in jobs] == [
        (Status.QUEUED, "", False),
        (Status.RUNNING, running.token, False),
        (Status.SUCCEEDED, done.token, False),
        (Status.QUEUED, "", False),
        (None, "", True),
        (None, "", False),
    ]
    assert {each.generation for each in known.values()} == {1}
    assert store.recovery.whereabouts(here, []) == {}


def test_another_redis_or_an_emptied_one_tells_nothing(store: JobStore, redis: Redis) -> None:
    here = store.recovery.name_installation("here")
    assert store.recovery.name_installation("there") == here
    with pytest.raises(Unavailable):
        store.recovery.whereabouts("there", ["job_1"])
    redis.flushdb()
    with pytest.raises(Unavailable):
        store.recovery.whereabouts(here, ["job_1"])
