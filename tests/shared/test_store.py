"""The job's way through the store: one test for each thing that must hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from shared.errors import Conflict, NotFound, QueueFull, SettingsInvalid, WorkerLost
from shared.jobs import (
    MAX_STARTS,
    RELEASE_BUDGET,
    TERMINAL_EVENT,
    TRANSITIONS,
    Priority,
    Progress,
    Release,
    Stage,
    Status,
    new_id,
)
from shared.store import Beat, Claim, DueJob, JobStore, NewJob, Outcome
from tests.shared.conftest import at_once, redis_time, wait_until

NewJobs = Callable[..., NewJob]
Stores = Callable[..., JobStore]

DONE = Outcome(
    Status.SUCCEEDED,
    result={"faces": [], "image": {"key": "k"}},
    warnings=("animated",),
    timings_ms={"restore": 12},
)
BROKEN = Outcome(Status.FAILED, error={"code": "corrupt-image"})


def claimed(store: JobStore, new: NewJob) -> Claim:
    store.create(new)
    claim = store.claim(new.id, "w-1")
    assert claim is not None
    return claim


# --- taking and reading ---------------------------------------------------------------------


def test_a_created_job_reads_back_as_it_was_given(store: JobStore, new_job: NewJobs) -> None:
    new = new_job(priority=Priority.HIGH)
    created = store.create(new)
    job = store.get("acme", new.id)
    assert (job.status, job.attempt, job.version) == (Status.QUEUED, 0, 1)
    assert (job.model, job.priority) == ("starter", Priority.HIGH)
    assert (job.request, job.source) == (new.request, new.source)
    assert (job.started_at, job.finished_at, job.expires_at) == (None, None, None)
    assert job.created_at == created.created_at


def test_times_are_those_of_redis(store: JobStore, new_job: NewJobs, redis: Redis) -> None:
    before = redis_time(redis)
    created = store.create(new_job())
    assert before <= created.created_at <= redis_time(redis)


def test_a_missing_job_and_a_foreign_one_are_not_found_alike(
    store: JobStore, new_job: NewJobs
) -> None:
    new = new_job()
    store.create(new)
    with pytest.raises(NotFound) as foreign:
        store.get("other", new.id)
    with pytest.raises(NotFound) as missing:
        store.get("acme", new_id("job"))
    assert foreign.value.problem() == missing.value.problem()


def test_a_queued_job_knows_its_place_in_its_own_queue(store: JobStore, new_job: NewJobs) -> None:
    jobs = [new_job() for _ in range(3)]
    for new in (*jobs, urgent := new_job(priority=Priority.HIGH), other := new_job(model="big")):
        store.create(new)
    assert [store.get("acme", new.id).queue_position for new in jobs] == [1, 2, 3]
    assert store.get("acme", urgent.id).queue_position == 1
    assert store.get("acme", other.id).queue_position == 1
    store.claim(jobs[0].id, "w")
    assert store.get("acme", jobs[2].id).queue_position == 2
    assert store.get("acme", jobs[0].id).queue_position is None


def test_the_same_create_again_answers_the_same_job(store: JobStore, new_job: NewJobs) -> None:
    new = new_job()
    assert store.create(new) == store.create(new)
    assert store.counts()["queued"] == 1


def test_an_id_is_never_used_for_another_job(store: JobStore, new_job: NewJobs) -> None:
    new = new_job()
    store.create(new)
    for other in (new_job(id=new.id, tenant="other"), new_job(id=new.id, source={"url": "u"})):
        with pytest.raises(Conflict):
            store.create(other)


def test_a_tenant_may_have_only_so_many_jobs_waiting(store_with: Stores, new_job: NewJobs) -> None:
    store = store_with(max_queued_per_tenant=2)
    first = new_job()
    store.create(first)
    store.create(new_job())
    with pytest.raises(QueueFull) as refused:
        store.create(new_job())
    assert refused.value.retry_after_s > 0
    store.create(new_job(tenant="other"))
    store.claim(first.id, "w")
    store.create(new_job())


def test_unknown_fields_of_a_newer_version_are_ignored(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    new = new_job()
    store.create(new)
    redis.hset(f"fm:job:{new.id}", "colour", "blue")
    assert store.get("acme", new.id).id == new.id
    assert store.claim(new.id, "w") is not None


# --- claiming -------------------------------------------------------------------------------


def test_of_sixteen_claims_one_wins(store: JobStore, new_job: NewJobs) -> None:
    new = new_job()
    store.create(new)
    claims = at_once(16, lambda number: store.claim(new.id, f"w-{number}"))
    winners = [claim for claim in claims if claim]
    assert len(winners) == 1
    assert winners[0].job.attempt == 1
    assert winners[0].job.status is Status.RUNNING
    assert store.get("acme", new.id).attempt == 1


def test_a_claim_of_nothing_is_refused(store: JobStore) -> None:
    assert store.claim(new_id("job"), "w") is None


@pytest.mark.parametrize("outcome", [DONE, BROKEN, Outcome(Status.CANCELED)])
def test_an_ended_job_is_not_claimed(store: JobStore, new_job: NewJobs, outcome: Outcome) -> None:
    claim = claimed(store, new_job())
    store.finish(claim.job.id, claim.token, outcome)
    assert store.claim(claim.job.id, "w-2") is None


def test_each_start_has_a_token_of_its_own(store: JobStore, new_job: NewJobs) -> None:
    first = claimed(store, new_job())
    store.release(first.job.id, first.token, Release.DRAIN)
    second = store.claim(first.job.id, "w-2")
    assert second is not None
    assert second.token != first.token
    assert second.job.attempt == 2


def test_a_job_waiting_for_its_next_try_is_not_claimed_before(
    store: JobStore, new_job: NewJobs
) -> None:
    claim = claimed(store, new_job())
    store.release(claim.job.id, claim.token, Release.TRANSIENT, delay_s=60)
    assert store.claim(claim.job.id, "w-2") is None
    assert store.get("acme", claim.job.id).status is Status.QUEUED
    assert store.due() == []


def test_a_job_past_its_start_deadline_fails_instead_of_starting(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    new = new_job(start_before_s=1)
    store.create(new)
    redis.hset(f"fm:job:{new.id}", "deadline", redis_time(redis))
    assert store.claim(new.id, "w") is None
    job = store.get("acme", new.id)
    assert job.status is Status.FAILED
    assert job.error is not None
    assert job.error["code"] == "deadline-exceeded"
    assert len(store.deliveries("acme", new.id)) == 1


# --- running --------------------------------------------------------------------------------


def test_progress_is_seen_and_grows_the_version(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    progress = Progress(Stage.RESTORING, 1, 4)
    assert store.progress(claim.job.id, claim.token, progress) is Beat.GO_ON
    job = store.get("acme", claim.job.id)
    assert job.progress == progress
    assert job.version == claim.job.version + 1


def test_a_beat_prolongs_the_lease_and_nothing_else(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    claim = claimed(store, new_job())
    before = redis.zscore("fm:leases", claim.job.id)
    assert store.beat(claim.job.id, claim.token) is Beat.GO_ON
    assert redis.zscore("fm:leases", claim.job.id) > before
    assert store.get("acme", claim.job.id).version == claim.job.version


def test_a_finished_job_holds_its_outcome_and_its_expiry(
    store: JobStore, new_job: NewJobs, settings: Any
) -> None:
    claim = claimed(store, new_job())
    store.progress(claim.job.id, claim.token, Progress(Stage.PUBLISHING))
    assert store.finish(claim.job.id, claim.token, DONE)
    job = store.get("acme", claim.job.id)
    assert job.status is Status.SUCCEEDED
    assert (job.result, job.error) == (DONE.result, None)
    assert (job.warnings, job.timings_ms) == (DONE.warnings, DONE.timings_ms)
    assert job.progress is None
    assert job.finished_at is not None
    assert job.expires_at == pytest.approx(job.finished_at + settings.result_ttl_s, abs=1e-3)


def test_finishing_twice_makes_one_event(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    answers = at_once(8, lambda _: store.finish(claim.job.id, claim.token, DONE))
    assert answers == [True] * 8  # to a run whose first answer was lost it is still its own end
    assert len(store.deliveries("acme", claim.job.id)) == 1
    assert store.get("acme", claim.job.id).version == claim.job.version + 1


def test_an_ended_job_keeps_its_first_outcome(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    store.finish(claim.job.id, claim.token, DONE)
    store.finish(claim.job.id, claim.token, BROKEN)
    assert store.get("acme", claim.job.id).status is Status.SUCCEEDED


def test_a_zombie_changes_nothing(store: JobStore, new_job: NewJobs) -> None:
    zombie = claimed(store, new_job())
    job_id = zombie.job.id
    store.release(job_id, zombie.token, Release.LOST)
    owner = store.claim(job_id, "w-2")
    assert owner is not None
    before = store.get("acme", job_id)
    assert store.beat(job_id, zombie.token) is Beat.FENCED
    assert store.progress(job_id, zombie.token, Progress(Stage.PASTING)) is Beat.FENCED
    assert store.release(job_id, zombie.token, Release.TRANSIENT) is None
    assert store.finish(job_id, zombie.token, BROKEN) is False
    assert store.get("acme", job_id) == before
    assert store.finish(job_id, owner.token, DONE) is True
    after = store.get("acme", job_id)
    assert store.finish(job_id, zombie.token, BROKEN) is False
    assert store.get("acme", job_id) == after


def test_a_run_that_was_ended_by_others_is_told_so(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    claim = claimed(store, new_job())
    redis.zadd("fm:deadlines", {claim.job.id: 0})
    assert store.reap() == [(claim.job.id, Status.FAILED)]
    assert store.beat(claim.job.id, claim.token) is Beat.FENCED
    assert store.finish(claim.job.id, claim.token, DONE) is False


# --- giving back ----------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [Release.TRANSIENT, Release.LOST])
def test_each_reason_has_its_own_budget(store: JobStore, new_job: NewJobs, reason: Release) -> None:
    claim = claimed(store, new_job())
    for _ in range(RELEASE_BUDGET[reason]):
        assert store.release(claim.job.id, claim.token, reason) is Status.QUEUED
        again = store.claim(claim.job.id, "w")
        assert again is not None
        claim = again
    assert store.release(claim.job.id, claim.token, reason) is Status.FAILED
    job = store.get("acme", claim.job.id)
    assert job.error == WorkerLost().problem()


def test_a_spent_budget_fails_with_the_error_given(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    problem = {"code": "input-timeout", "retryable": True}
    status: Status | None = Status.QUEUED
    while status is Status.QUEUED:
        status = store.release(claim.job.id, claim.token, Release.TRANSIENT, error=problem)
        claim = store.claim(claim.job.id, "w") or claim
    assert status is Status.FAILED
    assert store.get("acme", claim.job.id).error == problem


def test_starts_are_counted_over_all_reasons(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    reasons = [Release.LOST] * RELEASE_BUDGET[Release.LOST]
    reasons += [Release.TRANSIENT] * RELEASE_BUDGET[Release.TRANSIENT]
    for reason in reasons[: MAX_STARTS - 1]:
        assert store.release(claim.job.id, claim.token, reason) is Status.QUEUED
        claim = store.claim(claim.job.id, "w") or claim
    assert claim.job.attempt == len(reasons) + 1 <= MAX_STARTS


def test_a_drain_spends_no_start(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    for _ in range(RELEASE_BUDGET[Release.DRAIN]):
        assert store.release(claim.job.id, claim.token, Release.DRAIN) is Status.QUEUED
        claim = store.claim(claim.job.id, "w") or claim
    assert claim.job.attempt == RELEASE_BUDGET[Release.DRAIN] + 1 > MAX_STARTS
    assert store.release(claim.job.id, claim.token, Release.LOST) is Status.QUEUED


def test_the_last_start_is_the_last(store: JobStore, new_job: NewJobs, redis: Redis) -> None:
    claim = claimed(store, new_job())
    redis.hset(f"fm:job:{claim.job.id}", "attempt", MAX_STARTS)
    assert store.release(claim.job.id, claim.token, Release.LOST) is Status.FAILED


# --- the reaper -----------------------------------------------------------------------------


def test_a_job_is_reaped_when_its_lease_is_over_and_not_before(
    store_with: Stores, new_job: NewJobs, redis: Redis
) -> None:
    store = store_with(lease_s=0.2)
    claim = claimed(store, new_job())
    ends = redis.zscore("fm:leases", claim.job.id)
    assert ends == pytest.approx(claim.job.started_at + 0.2, abs=1e-5)
    assert store.reap() == []
    wait_until(redis, ends)
    assert store.reap() == [(claim.job.id, Status.QUEUED)]
    assert store.reap() == []
    assert store.beat(claim.job.id, claim.token) is Beat.FENCED
    assert [job.id for job in store.due()] == [claim.job.id]


def test_two_reapers_take_a_job_once(store: JobStore, new_job: NewJobs, redis: Redis) -> None:
    claims = [claimed(store, new_job()) for _ in range(20)]
    redis.zadd("fm:leases", {claim.job.id: 0 for claim in claims})
    reaped = [job_id for part in at_once(4, lambda _: store.reap()) for job_id, _ in part]
    assert sorted(reaped) == sorted(claim.job.id for claim in claims)


def test_a_job_whose_workers_die_again_and_again_fails(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    new = new_job()
    store.create(new)
    ends: list[Status] = []
    while Status.FAILED not in ends:
        assert store.claim(new.id, "w") is not None
        redis.zadd("fm:leases", {new.id: 0})
        ends += [status for _, status in store.reap()]
    assert len(ends) == RELEASE_BUDGET[Release.LOST] + 1
    assert store.get("acme", new.id).error == WorkerLost().problem()


def test_a_job_past_its_day_fails_whether_it_waits_or_runs(
    store_with: Stores, new_job: NewJobs, redis: Redis
) -> None:
    store = store_with(job_deadline_s=0.05)
    waiting, running = new_job(), new_job()
    store.create(waiting)
    claimed(store, running)
    wait_until(redis, redis_time(redis) + 0.05)
    assert sorted(store.reap()) == sorted(
        [(waiting.id, Status.FAILED), (running.id, Status.FAILED)]
    )
    for new in (waiting, running):
        job = store.get("acme", new.id)
        assert job.error is not None
        assert job.error["code"] == "deadline-exceeded"
    assert store.counts()["queued"] == store.counts()["running"] == 0


def test_a_job_that_was_not_started_in_time_fails_while_it_waits(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    job = store.create(new_job(start_before_s=5))
    deadline = redis.zscore("fm:deadlines", job.id)
    assert deadline == pytest.approx(job.created_at + 5, abs=1e-3)
    redis.zadd("fm:deadlines", {job.id: redis_time(redis)})
    assert store.reap() == [(job.id, Status.FAILED)]


def test_a_started_job_has_met_its_start_deadline(
    store: JobStore, new_job: NewJobs, redis: Redis, settings: Any
) -> None:
    claim = claimed(store, new_job(start_before_s=5))
    deadline = redis.zscore("fm:deadlines", claim.job.id)
    assert deadline == pytest.approx(claim.job.created_at + settings.job_deadline_s, abs=1e-3)


def test_an_index_entry_without_a_record_holds_up_nobody(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    claim = claimed(store, new_job())
    for index in ("leases", "deadlines", "expiry", "due:normal:starter"):
        redis.zadd(f"fm:{index}", {"job_gone": 0})
    redis.zadd("fm:leases", {claim.job.id: 1})
    assert store.reap(limit=5) == [(claim.job.id, Status.QUEUED)]
    assert store.expired(5) == []
    assert [job.id for job in store.due(5)] == [claim.job.id]


# --- the dispatcher -------------------------------------------------------------------------


def test_a_job_rings_again_until_it_is_claimed(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    new = new_job()
    store.create(new)
    assert store.due() == []  # who created it rings first
    for _ in range(2):
        redis.zadd("fm:due:normal:starter", {new.id: 0})
        assert store.due() == [DueJob(new.id, "starter", Priority.NORMAL)]
        assert store.due() == []
    store.claim(new.id, "w")
    redis.zadd("fm:due:normal:starter", {new.id: 0}, xx=True)
    assert store.due() == []


def test_two_dispatchers_ring_a_job_once(store: JobStore, new_job: NewJobs, redis: Redis) -> None:
    jobs = [new_job() for _ in range(20)]
    for new in jobs:
        store.create(new)
    redis.zadd("fm:due:normal:starter", {new.id: 0 for new in jobs})
    rung = [job.id for part in at_once(4, lambda _: store.due()) for job in part]
    assert sorted(rung) == sorted(new.id for new in jobs)


def test_high_rings_before_normal_before_low(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
        store.create(new := new_job(priority=priority))
        redis.zadd(f"fm:due:{priority}:starter", {new.id: 0})
    assert [job.priority for job in store.due(2)] == [Priority.HIGH, Priority.NORMAL]
    assert [job.priority for job in store.due(2)] == [Priority.LOW]


def test_a_queue_full_of_doorbells_gets_no_more_and_keeps_others_ringing(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    from shared.queue import restore_queue
    from shared.store import MAX_DOORBELLS

    store.create(deaf := new_job(priority=Priority.HIGH))
    store.create(other := new_job(model="big"))
    redis.zadd("fm:due:high:starter", {deaf.id: 0})
    redis.zadd("fm:due:normal:big", {other.id: 0})
    bells = restore_queue("starter", Priority.HIGH)
    redis.rpush(bells, *["bell"] * MAX_DOORBELLS)
    assert [job.id for job in store.due()] == [other.id]
    redis.lpop(bells)
    assert [job.id for job in store.due()] == [deaf.id]


# --- cancel ---------------------------------------------------------------------------------


def test_a_queued_job_is_canceled_at_once(store: JobStore, new_job: NewJobs) -> None:
    new = new_job()
    store.create(new)
    assert store.cancel("acme", new.id).status is Status.CANCELED
    assert store.claim(new.id, "w") is None
    assert [entry["event"] for entry in store.deliveries("acme", new.id)] == [
        TERMINAL_EVENT[Status.CANCELED]
    ]


def test_a_running_job_is_asked_to_stop_once(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    asked = store.cancel("acme", claim.job.id)
    assert asked.status is Status.RUNNING
    assert asked.cancel_requested
    assert store.cancel("acme", claim.job.id).version == asked.version
    assert store.beat(claim.job.id, claim.token) is Beat.CANCEL
    assert store.progress(claim.job.id, claim.token, Progress(Stage.PASTING)) is Beat.CANCEL


def test_a_cancel_that_was_accepted_wins_over_the_result(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    store.cancel("acme", claim.job.id)
    assert store.finish(claim.job.id, claim.token, DONE)
    job = store.get("acme", claim.job.id)
    assert (job.status, job.result) == (Status.CANCELED, None)


@pytest.mark.parametrize("way", ["release", "reap"])
def test_a_canceled_run_does_not_start_again(
    store: JobStore, new_job: NewJobs, redis: Redis, way: str
) -> None:
    claim = claimed(store, new_job())
    store.cancel("acme", claim.job.id)
    if way == "release":
        assert store.release(claim.job.id, claim.token, Release.DRAIN) is Status.CANCELED
    else:
        redis.zadd("fm:leases", {claim.job.id: 0})
        assert store.reap() == [(claim.job.id, Status.CANCELED)]
    assert store.get("acme", claim.job.id).status is Status.CANCELED


def test_a_cancel_wins_over_a_deadline(store: JobStore, new_job: NewJobs, redis: Redis) -> None:
    claim = claimed(store, new_job())
    store.cancel("acme", claim.job.id)
    redis.zadd("fm:deadlines", {claim.job.id: 0})
    assert store.reap() == [(claim.job.id, Status.CANCELED)]
    assert store.get("acme", claim.job.id).error is None


def test_an_ended_job_is_not_canceled(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    store.finish(claim.job.id, claim.token, DONE)
    with pytest.raises(Conflict):
        store.cancel("acme", claim.job.id)


def test_nobody_cancels_a_foreign_job(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new_job())
    with pytest.raises(NotFound):
        store.cancel("other", claim.job.id)
    assert store.beat(claim.job.id, claim.token) is Beat.GO_ON


def test_cancel_and_finish_at_once_agree_on_one_end(store: JobStore, new_job: NewJobs) -> None:
    for _ in range(20):
        claim = claimed(store, new_job())

        def race(number: int, claim: Claim = claim) -> bool:
            if number:
                return store.finish(claim.job.id, claim.token, DONE)
            try:
                store.cancel("acme", claim.job.id)
            except Conflict:
                return False
            return True

        accepted, finished = at_once(2, race)
        job = store.get("acme", claim.job.id)
        assert finished
        assert job.status is (Status.CANCELED if accepted else Status.SUCCEEDED)
        assert [entry["event"] for entry in store.deliveries("acme", job.id)] == [
            TERMINAL_EVENT[job.status]
        ]


# --- the end --------------------------------------------------------------------------------


def test_an_ended_job_expires_when_its_time_is_over(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    claim = claimed(store, new_job())
    store.finish(claim.job.id, claim.token, DONE)
    assert store.expired(10) == []
    redis.zadd("fm:expiry", {claim.job.id: redis_time(redis)})
    assert store.expired(10) == [store.get("acme", claim.job.id)]


@pytest.mark.parametrize("state", ["queued", "running", "ended"])
def test_an_erased_job_leaves_only_a_tombstone(
    store: JobStore, new_job: NewJobs, redis: Redis, state: str
) -> None:
    new = new_job()
    store.create(new)
    token = ""
    if state != "queued":
        claim = store.claim(new.id, "w")
        assert claim is not None
        token = claim.token
    if state == "ended":
        store.finish(new.id, token, DONE)
    assert not store.erase("other", new.id)
    assert store.erase("acme", new.id)
    left = {key for key in redis.keys("*") if key != "fm:queues"}
    assert left == {f"fm:gone:{new.id}"}
    assert 0 < redis.ttl(f"fm:gone:{new.id}") <= 86_400


def test_nothing_late_revives_an_erased_job(store: JobStore, new_job: NewJobs) -> None:
    claim = claimed(store, new := new_job())
    store.erase("acme", new.id)
    assert store.beat(new.id, claim.token) is Beat.FENCED
    assert store.progress(new.id, claim.token, Progress(Stage.PASTING)) is Beat.FENCED
    assert store.release(new.id, claim.token, Release.TRANSIENT) is None
    assert store.finish(new.id, claim.token, DONE) is False
    assert store.claim(new.id, "w") is None
    assert not store.erase("acme", new.id)
    with pytest.raises(Conflict):
        store.create(new)
    with pytest.raises(NotFound):
        store.get("acme", new.id)


def test_a_finished_job_is_small_in_redis(store: JobStore, new_job: NewJobs, redis: Redis) -> None:
    face = {
        "index": 0, "box": [100.5, 80.25, 212.75, 230.5], "score": 0.9987, "status": "restored",
        "landmarks": [[120.5, 130.25]] * 5, "reason": None,
    }  # fmt: skip
    image = {
        "key": "tenants/acme/results/" + "x" * 90, "width": 4000, "height": 3000,
        "format": "jpeg", "bytes": 3_000_000, "sha256": "f" * 64,
    }  # fmt: skip
    model = {"name": "starter", "sha256": "e" * 64, "precision": "fp32", "backend": "torch"}
    claim = claimed(store, new_job())
    result = {"image": image, "faces": [face], "model": model}
    store.finish(claim.job.id, claim.token, Outcome(Status.SUCCEEDED, result))
    taken = sum(redis.memory_usage(f"fm:job:{claim.job.id}{part}") for part in ("", ":deliveries"))
    assert taken <= 2048


# --- the whole ------------------------------------------------------------------------------


def test_the_scripts_know_the_same_transitions_as_the_table(store: JobStore) -> None:
    """Tries every step from every state through ``move``, the one writer of a status."""
    from importlib import resources

    client = store._redis
    prelude = (resources.files("shared") / "lua" / "prelude.lua").read_text()
    script = client.register_script(
        prelude + "local found = {} for from, tos in pairs(NEXT) do found[#found + 1] = {from} "
        "for to in pairs(tos) do table.insert(found[#found], to) end end return found"
    )
    table = {row[0]: set(row[1:]) for row in script()}
    assert table == {str(status): {*map(str, tos)} for status, tos in TRANSITIONS.items()}
    move = client.register_script(prelude + "move(load(ARGV[1]), ARGV[2])")
    from redis import ResponseError

    for status, allowed in TRANSITIONS.items():
        for to in set(Status) - allowed:
            client.hset("fm:job:job_x", mapping={"tenant": "t", "status": status})
            with pytest.raises(ResponseError, match=f"cannot go from {status} to {to}"):
                move(args=["job_x", to])
            assert client.hget("fm:job:job_x", "status") == status


def test_a_redis_that_would_throw_jobs_away_is_refused(store: JobStore, redis: Redis) -> None:
    store.check_policy()
    redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        store.check_policy()  # without a limit nothing is ever thrown away
        redis.config_set("maxmemory", 10**9)
        with pytest.raises(SettingsInvalid, match="allkeys-lru"):
            store.check_policy()
        redis.config_set("maxmemory-policy", "noeviction")
        store.check_policy()
    finally:
        redis.config_set("maxmemory-policy", "noeviction")
        redis.config_set("maxmemory", 0)


def test_counts_tell_what_waits_and_what_runs(store: JobStore, new_job: NewJobs) -> None:
    for _ in range(2):
        store.create(new_job())
    store.create(new_job(priority=Priority.HIGH, model="big"))
    claim = claimed(store, new_job())
    assert store.counts() == {
        "queued": 3,
        "queued.starter.normal": 2,
        "queued.big.high": 1,
        "running": 1,
        "kept": 0,
        "deliveries_pending": 0,
    }
    store.finish(claim.job.id, claim.token, DONE)
    counts = store.counts()
    assert (counts["running"], counts["kept"], counts["deliveries_pending"]) == (0, 1, 1)
