"""Recovery: restores records from manifests, and locates jobs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from shared.errors import IdempotencyMismatch, NotFound, Unavailable
from shared.jobs.idempotency import FirstRequest
from shared.jobs.job import Priority, Release, Status, new_id
from shared.jobs.record import NewJob, outcome_json
from shared.jobs.recovery import Manifest, RecoveryResult, SealedRun
from shared.jobs.store import JobStore
from shared.manifests.manifests import ManifestRef, Manifests
from shared.storage.bucket import ObjectStorage
from shared.webhooks.outbox import Outbox
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
        manifest = manifests.read(ManifestRef(new.tenant, new.id, generation, 0.0))
        assert manifest is not None
        return manifest

    return remember


# --- restoring -------------------------------------------------------------------------------


def test_a_restored_job_is_unchanged_and_can_run(
    store: JobStore, outbox: Outbox, new_job: NewJobs, remember: Remember, redis: Redis
) -> None:
    new = new_job(priority=Priority.HIGH)
    before, manifest = store.create(new), remember(new)
    redis.flushdb()

    assert store.recovery.restore(manifest, age_s=100) is RecoveryResult.QUEUED
    job = store.get("acme", new.id)
    assert (job.id, job.tenant, job.model, job.priority) == (new.id, "acme", "starter", "high")
    assert (job.request, job.source, job.generation) == (before.request, before.source, 1)
    assert job.created_at == pytest.approx(redis_time(redis) - 100, abs=60)
    assert [each.id for each in store.runs.due()] == [new.id]
    assert [each.id for each in store.page("acme")[0]] == [new.id]

    claim = store.runs.claim(new.id, "w")
    assert claim is not None
    assert store.runs.finish(new.id, claim.token, DONE)
    (delivery,) = [each for each in outbox.of_job("acme", new.id) if "succeeded" in each["event"]]
    assert delivery["url"] == "http://127.0.0.1:9/hook"


def test_restoring_again_or_at_the_same_time_changes_nothing(
    store: JobStore, new_job: NewJobs, remember: Remember
) -> None:
    manifest = remember(new := new_job())
    came = at_once(8, lambda _: store.recovery.restore(manifest, age_s=1))
    assert sorted(came) == [*[RecoveryResult.KNOWN] * 7, RecoveryResult.QUEUED]
    job = store.get("acme", new.id)
    claimed_once = store.runs.claim(new.id, "w")
    assert claimed_once
    assert store.recovery.restore(manifest, age_s=1) is RecoveryResult.KNOWN
    assert store.get("acme", new.id).created_at == job.created_at
    assert store.counts()["running"] == 1


def test_a_job_that_has_ended_is_not_run_again(
    store: JobStore, new_job: NewJobs, remember: Remember
) -> None:
    claim = claimed(store, new := new_job())
    store.runs.finish(new.id, claim.token, BROKEN)
    assert store.recovery.restore(remember(new), age_s=1) is RecoveryResult.KNOWN
    assert store.get("acme", new.id).status is Status.FAILED


def test_an_erased_job_stays_erased(store: JobStore, new_job: NewJobs, remember: Remember) -> None:
    store.create(new := new_job())
    store.erase("acme", new.id)
    assert store.recovery.restore(remember(new), age_s=1) is RecoveryResult.ERASED
    with pytest.raises(NotFound):
        store.get("acme", new.id)


def test_a_sealed_run_is_not_run_again_and_its_event_keeps_its_id(
    store: JobStore, outbox: Outbox, new_job: NewJobs, remember: Remember, redis: Redis
) -> None:
    claim = claimed(store, new := new_job())
    manifest = remember(new)
    store.runs.finish(new.id, claim.token, DONE)
    event_ids = {each["event"]: each["event_id"] for each in outbox.of_job("acme", new.id)}
    redis.flushdb()

    assert store.recovery.restore(manifest, age_s=5, sealed=SEALED) is RecoveryResult.SUCCEEDED
    job = store.get("acme", new.id)
    assert (job.status, job.result, job.warnings) == (Status.SUCCEEDED, DONE.result, DONE.warnings)
    assert job.expires_at is not None
    assert store.runs.due() == []
    assert store.runs.claim(new.id, "w") is None
    again = {each["event"]: each["event_id"] for each in outbox.of_job("acme", new.id)}
    assert again["restoration.succeeded"] == event_ids["restoration.succeeded"]
    name = store.recovery.name_installation("here")
    known = store.recovery.locate(name, [new.id])[new.id]
    assert (known.status, known.token) == (Status.SUCCEEDED, SEALED.token)
    assert {name: count for name, count in store.counts().items() if count} == {
        "kept": 1,
        "deliveries_pending": 1,
    }


def test_a_restored_job_keeps_its_deadline(
    store: JobStore, new_job: NewJobs, remember: Remember
) -> None:
    late = remember(new_job(start_before_s=60))
    early = remember(new_job(start_before_s=60))
    for manifest, age_s in ((late, 61), (early, 30)):
        assert store.recovery.restore(manifest, age_s=age_s) is RecoveryResult.QUEUED
    assert store.runs.reap() == [(late.id, Status.FAILED)]
    error = store.get("acme", late.id).error
    assert error is not None
    assert error["code"] == "deadline-exceeded"
    assert store.get("acme", early.id).status is Status.QUEUED


def test_an_idempotency_key_finds_its_restored_job(
    store: JobStore, new_job: NewJobs, remember: Remember
) -> None:
    manifest = remember(
        new := new_job(idempotency_key="once", idempotency_fingerprint="this request")
    )
    store.recovery.restore(manifest, age_s=10)
    assert store.idempotency.begin("key_1", "once", "this request") == FirstRequest(new.id)
    with pytest.raises(IdempotencyMismatch):
        store.idempotency.begin("key_1", "once", "another request")


def test_an_idempotency_key_of_yesterday_is_free_again(
    store: JobStore, new_job: NewJobs, remember: Remember
) -> None:
    manifest = remember(new_job(idempotency_key="once", idempotency_fingerprint="f"))
    store.recovery.restore(manifest, age_s=86_400)
    assert store.idempotency.begin("key_1", "once", "f") is None


def test_of_two_manifests_with_one_idempotency_key_the_accepted_job_is_the_one(
    store: JobStore, new_job: NewJobs, remember: Remember
) -> None:
    keyed = {"idempotency_key": "once", "idempotency_fingerprint": "f"}
    never_made, sent_again = new_job(**keyed), new_job(**keyed)
    store.idempotency.begin("key_1", "once", "f")
    store.create(sent_again)
    assert store.recovery.restore(remember(never_made), age_s=200) is RecoveryResult.SUPERSEDED
    store.erase("acme", sent_again.id)  # nor is it made when the other one is gone for good
    with pytest.raises(NotFound):
        store.get("acme", never_made.id)


def test_a_full_queue_does_not_refuse_a_restored_job(
    store_with: Callable[..., JobStore], new_job: NewJobs, remember: Remember
) -> None:
    store = store_with(max_queued_per_tenant=1)
    store.create(new_job())
    assert store.recovery.restore(remember(new_job()), age_s=1) is RecoveryResult.QUEUED


def test_a_lost_retry_is_reported_as_older_than_its_manifest(
    store: JobStore, new_job: NewJobs, remember: Remember, redis: Redis
) -> None:
    claim = claimed(store, new := new_job())
    store.runs.finish(new.id, claim.token, BROKEN)
    retried = remember(new, generation=2)
    assert store.recovery.restore(retried, age_s=1) is RecoveryResult.OLDER
    store.retry("acme", new.id)
    assert store.recovery.restore(retried, age_s=1) is RecoveryResult.KNOWN
    redis.flushdb()
    assert store.recovery.restore(retried, age_s=1) is RecoveryResult.QUEUED
    assert store.get("acme", new.id).generation == 2


@pytest.mark.parametrize("sealed", [None, SEALED])
def test_a_dry_run_returns_the_same_and_changes_nothing(
    store: JobStore, new_job: NewJobs, remember: Remember, redis: Redis, sealed: SealedRun | None
) -> None:
    manifest = remember(new_job(idempotency_key="once", idempotency_fingerprint="f"))
    expected = store.recovery.restore(manifest, age_s=1, sealed=sealed, dry_run=True)
    assert redis.keys("*") == []
    assert store.recovery.restore(manifest, age_s=1, sealed=sealed) is expected


# --- locating -------------------------------------------------------------------------------


def test_jobs_are_located_with_status_generation_and_token(
    store: JobStore, new_job: NewJobs
) -> None:
    here = store.recovery.name_installation("here")
    store.create(waiting := new_job())
    running = claimed(store, new_job(model="other"))
    done = claimed(store, new_job(model="third"))
    store.runs.finish(done.job.id, done.token, DONE)
    released = claimed(store, new_job(model="fourth"))
    store.runs.release(released.job.id, released.token, Release.DRAIN)
    store.create(erased := new_job())
    store.erase("acme", erased.id)
    never = new_id("job")

    jobs = [waiting.id, running.job.id, done.job.id, released.job.id, erased.id, never]
    known = store.recovery.locate(here, jobs)
    assert [(known[job].status, known[job].token, known[job].erased) for job in jobs] == [
        (Status.QUEUED, "", False),
        (Status.RUNNING, running.token, False),
        (Status.SUCCEEDED, done.token, False),
        (Status.QUEUED, "", False),
        (None, "", True),
        (None, "", False),
    ]
    assert {each.generation for each in known.values()} == {1}
    assert store.recovery.locate(here, []) == {}


def test_an_emptied_or_wrong_redis_is_unavailable(store: JobStore, redis: Redis) -> None:
    here = store.recovery.name_installation("here")
    assert store.recovery.name_installation("there") == here
    with pytest.raises(Unavailable):
        store.recovery.locate("there", ["job_1"])
    redis.flushdb()
    with pytest.raises(Unavailable):
        store.recovery.locate(here, ["job_1"])
