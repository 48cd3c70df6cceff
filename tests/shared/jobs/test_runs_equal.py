"""Equal jobs: one runs, the others wait for it or find its result, and none is left waiting."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from shared.jobs.job import Job, Release, Status
from shared.jobs.record import NewJob, Outcome
from shared.jobs.runs import Claim, WithoutResult
from shared.jobs.store import JobStore
from tests.shared.conftest import BROKEN, DONE, at_once, claimed

NewJobs = Callable[..., NewJob]
CONTENT = "c" * 32
CANCELED = Outcome(Status.CANCELED)


def find(store: JobStore, claim: Claim, without: str | None = None) -> Job | WithoutResult:
    return store.runs.find_equal(claim.job.id, claim.token, CONTENT, without=without)


@pytest.fixture
def own(new_job: NewJobs) -> NewJobs:
    """Make jobs in queues of their own, so that a test chooses which one starts."""
    return lambda **fields: (
        (new := new_job(**fields)) and new_job(**{"id": new.id, "model": new.id, **fields})
    )


@pytest.fixture
def maker(store: JobStore, own: NewJobs) -> Claim:
    """A job that runs, and for which equal jobs wait."""
    claim = claimed(store, own())
    assert find(store, claim) is WithoutResult.RUN
    return claim


def parked(store: JobStore, new: NewJob) -> Job:
    claim = claimed(store, new)
    assert find(store, claim) is WithoutResult.WAIT
    return claim.job


def leftovers(redis: Redis) -> list[str]:
    return sorted(str(name) for kind in ("maker", "waiting") for name in redis.keys(f"fm:{kind}:*"))


# --- a result that is there -----------------------------------------------------------------


def test_an_equal_job_finds_the_result_of_one_that_succeeded(
    store: JobStore, own: NewJobs, maker: Claim
) -> None:
    store.runs.finish(maker.job.id, maker.token, DONE)
    found = find(store, claimed(store, own()))
    assert isinstance(found, Job)
    assert (found.id, found.result) == (maker.job.id, DONE.result)


@pytest.mark.parametrize("end", [BROKEN, CANCELED])
def test_a_job_that_did_not_succeed_has_no_result_to_find(
    store: JobStore, own: NewJobs, maker: Claim, end: Outcome
) -> None:
    store.runs.finish(maker.job.id, maker.token, end)
    assert find(store, claimed(store, own())) is WithoutResult.RUN


def test_a_job_of_another_tenant_is_not_equal(store: JobStore, own: NewJobs, maker: Claim) -> None:
    assert find(store, claimed(store, own(tenant="other"))) is WithoutResult.RUN
    store.runs.finish(maker.job.id, maker.token, DONE)
    assert find(store, claimed(store, own(tenant="another"))) is WithoutResult.RUN


def test_a_job_with_another_content_is_not_equal(
    store: JobStore, own: NewJobs, maker: Claim
) -> None:
    store.runs.finish(maker.job.id, maker.token, DONE)
    claim = claimed(store, own())
    found = store.runs.find_equal(claim.job.id, claim.token, "d" * 32)
    assert found is WithoutResult.RUN


def test_an_erased_job_is_not_found(
    store: JobStore, own: NewJobs, maker: Claim, redis: Redis
) -> None:
    store.runs.finish(maker.job.id, maker.token, DONE)
    store.erase("acme", maker.job.id)
    assert redis.keys("fm:result:*") == []
    assert find(store, claimed(store, own())) is WithoutResult.RUN


def test_a_result_is_found_no_longer_than_its_job_is_kept(
    store: JobStore, maker: Claim, redis: Redis
) -> None:
    store.runs.finish(maker.job.id, maker.token, DONE)
    (mark,) = redis.keys("fm:result:*")
    assert 0 < redis.ttl(mark) <= store.settings.result_ttl_s


def test_a_result_whose_objects_are_gone_is_not_found_again(
    store: JobStore, own: NewJobs, maker: Claim, redis: Redis
) -> None:
    store.runs.finish(maker.job.id, maker.token, DONE)
    claim = claimed(store, own())
    assert find(store, claim, without=maker.job.id) is WithoutResult.RUN
    assert redis.keys("fm:result:*") == []


def test_a_copy_is_found_when_the_first_result_is_erased(
    store: JobStore, own: NewJobs, maker: Claim
) -> None:
    store.runs.finish(maker.job.id, maker.token, DONE)
    second = claimed(store, own())
    find(store, second)
    store.runs.finish(second.job.id, second.token, DONE)
    store.erase("acme", maker.job.id)
    found = find(store, claimed(store, own()))
    assert isinstance(found, Job)
    assert found.id == second.job.id


def test_a_copy_counts_no_faces_and_no_work(
    store: JobStore, own: NewJobs, maker: Claim, redis: Redis
) -> None:
    face = {"status": "restored"}
    done = Outcome(Status.SUCCEEDED, {"faces": [face]}, timings_ms={"restore": 9}, cached=True)
    store.runs.finish(maker.job.id, maker.token, done)
    assert redis.hgetall(f"fm:work:{maker.job.model}") == {}
    assert redis.hget("fm:usage:key_1", "faces") is None
    assert redis.hget("fm:usage:key_1", "succeeded") == "1"
    assert store.get("acme", maker.job.id).cached


def test_a_worker_without_the_lease_finds_nothing(
    store: JobStore, own: NewJobs, maker: Claim
) -> None:
    zombie = claimed(store, own())
    store.runs.release(zombie.job.id, zombie.token, Release.LOST)
    assert find(store, zombie) is WithoutResult.FENCED
    assert store.get("acme", zombie.job.id).status is Status.QUEUED


# --- a job that waits -----------------------------------------------------------------------


def test_an_equal_job_waits_in_the_queue_while_one_runs(
    store: JobStore, own: NewJobs, maker: Claim
) -> None:
    waiting = parked(store, own())
    assert store.get("acme", waiting.id).status is Status.QUEUED
    assert store.runs.due() == []
    assert store.runs.claim(waiting.id, "w") is None


def test_of_many_equal_jobs_at_once_one_runs(store: JobStore, own: NewJobs) -> None:
    claims = [claimed(store, own()) for _ in range(8)]
    answers = at_once(8, lambda number: find(store, claims[number]))
    assert sorted(str(answer) for answer in answers) == ["run"] + ["wait"] * 7


def test_jobs_that_wait_start_and_find_the_result_when_the_first_one_succeeds(
    store: JobStore, own: NewJobs, maker: Claim, redis: Redis
) -> None:
    waiting = [parked(store, own()) for _ in range(3)]
    store.runs.finish(maker.job.id, maker.token, DONE)
    assert {job.id for job in store.runs.due()} == {job.id for job in waiting}
    for job in waiting:
        again = store.runs.claim(job.id, "w")
        assert again
        assert isinstance(find(store, again), Job)
    assert leftovers(redis) == []


def test_very_many_jobs_wake_each_other_a_few_at_a_time(
    store: JobStore, own: NewJobs, maker: Claim, redis: Redis
) -> None:
    waiting = {parked(store, own()).id for _ in range(40)}
    store.runs.finish(maker.job.id, maker.token, DONE)
    ready = [job.id for job in store.runs.due()]
    assert len(ready) == 16
    ended = set()
    while ready:
        again = store.runs.claim(ready[0], "w")
        assert again
        find(store, again)
        store.runs.finish(again.job.id, again.token, DONE)
        ended.add(ready.pop(0))
        ready += [job.id for job in store.runs.due()]
    assert ended == waiting
    assert leftovers(redis) == []


def fail(store: JobStore, maker: Claim, redis: Redis) -> None:
    store.runs.finish(maker.job.id, maker.token, BROKEN)


def cancel(store: JobStore, maker: Claim, redis: Redis) -> None:
    store.cancel("acme", maker.job.id)
    store.runs.finish(maker.job.id, maker.token, DONE)


def crash(store: JobStore, maker: Claim, redis: Redis) -> None:
    store.runs.release(maker.job.id, maker.token, Release.CRASH)


def drain(store: JobStore, maker: Claim, redis: Redis) -> None:
    store.runs.release(maker.job.id, maker.token, Release.DRAIN)


def lose(store: JobStore, maker: Claim, redis: Redis) -> None:
    redis.zadd("fm:leases", {maker.job.id: 0})
    store.runs.reap()


def be_late(store: JobStore, maker: Claim, redis: Redis) -> None:
    redis.zadd("fm:deadlines", {maker.job.id: 0})
    store.runs.reap()


def erase(store: JobStore, maker: Claim, redis: Redis) -> None:
    store.erase("acme", maker.job.id)


ENDS_WITHOUT_RESULT = [fail, cancel, crash, drain, lose, be_late, erase]


@pytest.mark.parametrize("end", ENDS_WITHOUT_RESULT)
def test_the_next_job_runs_itself_if_the_first_one_ends_without_a_result(
    store: JobStore,
    own: NewJobs,
    maker: Claim,
    redis: Redis,
    end: Callable[[JobStore, Claim, Redis], None],
) -> None:
    waiting = parked(store, own())
    end(store, maker, redis)
    assert waiting.id in {job.id for job in store.runs.due()}
    again = store.runs.claim(waiting.id, "w")
    assert again
    assert find(store, again) is WithoutResult.RUN


def test_only_one_job_is_woken_if_the_first_one_is_canceled(
    store: JobStore, own: NewJobs, maker: Claim, redis: Redis
) -> None:
    waiting = [parked(store, own()) for _ in range(3)]
    cancel(store, maker, redis)
    assert [job.id for job in store.runs.due()] == [waiting[0].id]


@pytest.mark.parametrize("end", ["cancel", "erase"])
def test_the_one_after_the_next_is_woken_if_the_next_one_never_starts(
    store: JobStore, own: NewJobs, maker: Claim, redis: Redis, end: str
) -> None:
    woken, next_one = parked(store, own()), parked(store, own())
    lose(store, maker, redis)
    assert next_one.id not in {job.id for job in store.runs.due()}
    getattr(store, end)("acme", woken.id)
    assert next_one.id in {job.id for job in store.runs.due()}


def test_all_try_for_themselves_if_the_first_one_fails(
    store: JobStore, own: NewJobs, maker: Claim, redis: Redis
) -> None:
    waiting = [parked(store, own()) for _ in range(3)]
    fail(store, maker, redis)
    assert {job.id for job in store.runs.due()} == {job.id for job in waiting}
    for job in waiting:
        again = store.runs.claim(job.id, "w")
        assert again
        assert find(store, again) is WithoutResult.RUN  # it waits only once


def test_a_first_job_that_starts_again_finds_the_result_of_the_next_one(
    store: JobStore, own: NewJobs, maker: Claim, redis: Redis
) -> None:
    waiting = parked(store, own())
    lose(store, maker, redis)
    second = store.runs.claim(waiting.id, "w")
    assert second
    assert find(store, second) is WithoutResult.RUN
    first = store.runs.claim(maker.job.id, "w")
    assert first
    assert find(store, first) is WithoutResult.WAIT
    store.runs.finish(second.job.id, second.token, DONE)
    again = store.runs.claim(maker.job.id, "w")
    assert again
    assert isinstance(find(store, again), Job)


# --- a job that waits, and what may happen to it ---------------------------------------------


def test_a_job_that_waits_is_canceled_at_once(
    store: JobStore, own: NewJobs, maker: Claim, redis: Redis
) -> None:
    waiting = parked(store, own())
    assert store.cancel("acme", waiting.id).status is Status.CANCELED
    store.runs.finish(maker.job.id, maker.token, DONE)
    assert store.get("acme", waiting.id).status is Status.CANCELED
    assert leftovers(redis) == []
    assert redis.zcard("fm:later") == 0


def test_a_job_that_waits_is_erased(
    store: JobStore, own: NewJobs, maker: Claim, redis: Redis
) -> None:
    waiting = parked(store, own())
    assert store.erase("acme", waiting.id) is Status.QUEUED
    store.runs.finish(maker.job.id, maker.token, DONE)
    assert [str(name) for name in redis.keys(f"*{waiting.id}*")] == [f"fm:gone:{waiting.id}"]
    assert redis.zcard("fm:later") == 0


def test_a_job_that_waits_fails_after_its_deadline(
    store: JobStore, own: NewJobs, maker: Claim, redis: Redis
) -> None:
    waiting = parked(store, own())
    redis.zadd("fm:deadlines", {waiting.id: 0})
    assert store.runs.reap() == [(waiting.id, Status.FAILED)]
    assert redis.zcard("fm:later") == 0


def test_a_job_whose_cancel_is_accepted_does_not_wait(
    store: JobStore, own: NewJobs, maker: Claim
) -> None:
    claim = claimed(store, own())
    store.cancel("acme", claim.job.id)
    assert find(store, claim) is WithoutResult.RUN


def test_a_retried_job_may_wait_again(store: JobStore, own: NewJobs, maker: Claim) -> None:
    waiting = parked(store, own())
    store.cancel("acme", waiting.id)
    store.retry("acme", waiting.id)
    again = store.runs.claim(waiting.id, "w")
    assert again
    assert find(store, again) is WithoutResult.WAIT


def test_a_job_waits_on_as_long_as_the_equal_one_runs(
    store: JobStore, own: NewJobs, maker: Claim, redis: Redis
) -> None:
    waiting = parked(store, own())
    redis.zadd("fm:later", {waiting.id: 0})
    assert store.runs.due() == []
    assert float(redis.zscore("fm:later", waiting.id) or 0) > float(maker.job.started_at or 0)


@pytest.mark.parametrize("lost", ["maker", "waiting"])
def test_a_job_that_nobody_wakes_starts_by_itself(
    store: JobStore, own: NewJobs, maker: Claim, redis: Redis, lost: str
) -> None:
    """Keys in Redis may be deleted by hand."""
    waiting = parked(store, own())
    redis.delete(f"fm:{lost}:acme:{CONTENT}")
    if lost == "waiting":
        store.runs.finish(maker.job.id, maker.token, DONE)
    redis.zadd("fm:later", {waiting.id: 0})
    assert [job.id for job in store.runs.due()] == [waiting.id]


def test_a_job_does_not_wait_for_one_that_does_not_run(
    store: JobStore, own: NewJobs, maker: Claim, redis: Redis
) -> None:
    redis.hset(f"fm:job:{maker.job.id}", "status", "queued")
    assert find(store, claimed(store, own())) is WithoutResult.RUN


def test_a_job_that_may_not_wait_yet_is_told_that_an_equal_one_runs(
    store: JobStore, own: NewJobs, maker: Claim
) -> None:
    claim = claimed(store, own())
    found = store.runs.find_equal(claim.job.id, claim.token, CONTENT, may_wait=False)
    assert found is WithoutResult.BUSY
    assert store.get("acme", claim.job.id).status is Status.RUNNING
    assert find(store, claim) is WithoutResult.WAIT


def test_a_claim_says_whether_the_job_has_waited(
    store: JobStore, own: NewJobs, maker: Claim
) -> None:
    waiting = parked(store, own())
    store.runs.finish(maker.job.id, maker.token, DONE)
    again = store.runs.claim(waiting.id, "w")
    assert again
    assert (maker.waited, again.waited) == (False, True)


def test_a_repeated_call_changes_nothing(store: JobStore, own: NewJobs, maker: Claim) -> None:
    """The response to the first one may be lost."""
    assert find(store, maker) is WithoutResult.RUN
    claim = claimed(store, own())
    assert find(store, claim) is WithoutResult.WAIT
    assert find(store, claim) is WithoutResult.FENCED
    assert store.get("acme", claim.job.id).status is Status.QUEUED
