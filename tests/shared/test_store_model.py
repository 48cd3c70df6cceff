"""Whatever happens in whatever order, the store agrees with a model of twenty lines.

Doorbells are lost and doubled, workers die, zombies come back, answers are lost and calls repeated:
hypothesis makes up such stories and shortens the one that fails.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from shared.errors import Conflict, NotFound
from shared.jobs import (
    MAX_STARTS,
    RELEASE_BUDGET,
    TERMINAL_EVENT,
    Event,
    Priority,
    Progress,
    Release,
    Stage,
    Status,
    new_id,
)
from shared.settings import Settings
from shared.store import Beat, JobStore, NewJob, Outcome

TENANTS = ("acme", "globex")
ENDS = [Status.SUCCEEDED, Status.FAILED, Status.CANCELED]
RARELY = st.sampled_from([False, False, False, True])
NUMBER = st.integers(0, 3)  # picks one of the jobs there are


@dataclass
class Model:
    """What a job should look like, by the rules alone."""

    new: NewJob
    status: Status = Status.QUEUED
    attempt: int = 0
    cancel: bool = False
    erased: bool = False
    tokens: list[str] = field(default_factory=list)  # of all starts; the last one may be valid
    spent: dict[Release, int] = field(default_factory=lambda: dict.fromkeys(Release, 0))
    winner: str | None = None

    def end(self, status: Status) -> None:
        self.status = Status.CANCELED if self.cancel else status
        self.cancel = False

    def give_back(self, reason: Release) -> None:
        self.spent[reason] += 1
        starts = self.attempt - self.spent[Release.DRAIN]
        if self.cancel or self.spent[reason] > RELEASE_BUDGET[reason] or starts >= MAX_STARTS:
            self.end(Status.FAILED)
        else:
            self.status = Status.QUEUED

    def runs_under(self, token: str) -> bool:
        return not self.erased and self.status is Status.RUNNING and self.tokens[-1:] == [token]


class StoreAndModel(RuleBasedStateMachine):
    def __init__(self, redis: Redis, settings: Settings) -> None:
        super().__init__()
        redis.flushdb()
        self.redis = redis
        self.store = JobStore(redis, settings)
        self.jobs: list[Model] = []

    @property
    def left(self) -> list[Model]:
        return [job for job in self.jobs if not job.erased]

    def pick(self, number: int, *, running: bool = False) -> Model:
        """One of the last jobs; with ``running`` one that runs if there is any."""
        among = [job for job in self.left if job.status is Status.RUNNING] if running else []
        among = among or self.jobs[-4:]
        return among[number % len(among)]

    @initialize()
    def begin_with_a_job(self) -> None:
        self.create(0, Priority.NORMAL, webhook=True, again=False)

    @precondition(lambda self: sum(not job.status.terminal for job in self.left) < 3)
    @rule(
        tenant=st.integers(0, 1),
        priority=st.sampled_from(Priority),
        webhook=st.booleans(),
        again=RARELY,
    )
    def create(self, tenant: int, priority: Priority, *, webhook: bool, again: bool) -> None:
        hook = {"url": "http://127.0.0.1:9/", "events": [*Event]}
        plain: dict[str, Any] = {"key_id": "key_1", "model": "starter", "request": {}, "source": {}}
        fields = {"id": new_id("job"), "tenant": TENANTS[tenant], "priority": priority}
        new = NewJob(**plain, **fields, webhook=hook if webhook else None)
        for _ in range(1 + again):
            assert self.store.create(new).status is Status.QUEUED
        self.jobs.append(Model(new))

    @rule()
    def every_doorbell_is_heard_twice(self) -> None:
        for job in 2 * self.jobs[-4:]:
            self.hear_doorbell(job)

    def hear_doorbell(self, job: Model) -> None:
        claim = self.store.claim(job.new.id, "w")
        if job.erased or job.status is not Status.QUEUED:
            assert claim is None
            return
        assert claim is not None
        assert claim.token not in job.tokens
        job.status = Status.RUNNING
        job.attempt += 1
        job.tokens.append(claim.token)
        assert claim.job.attempt == job.attempt

    @rule(number=NUMBER, zombie=RARELY, report=st.booleans())
    def a_worker_beats(self, number: int, *, zombie: bool, report: bool) -> None:
        job = self.pick(number, running=True)
        if not job.tokens:
            return
        token = job.tokens[0 if zombie else -1]
        if report:
            answer = self.store.progress(job.new.id, token, Progress(Stage.RESTORING, 1, 2))
        else:
            answer = self.store.beat(job.new.id, token)
        if not job.runs_under(token):
            assert answer is Beat.FENCED
        else:
            assert answer is (Beat.CANCEL if job.cancel else Beat.GO_ON)

    @rule(number=NUMBER, zombie=RARELY, end=st.sampled_from(ENDS), again=RARELY)
    def a_worker_finishes(self, number: int, *, zombie: bool, end: Status, again: bool) -> None:
        job = self.pick(number, running=True)
        if not job.tokens:
            return
        token = job.tokens[0 if zombie else -1]
        if job.runs_under(token):
            job.end(end)
            job.winner = token
        won = not job.erased and job.winner == token
        for _ in range(1 + again):
            assert self.store.finish(job.new.id, token, Outcome(end)) is won

    @rule(number=NUMBER, zombie=RARELY, reason=st.sampled_from(Release))
    def a_worker_gives_back(self, number: int, *, zombie: bool, reason: Release) -> None:
        job = self.pick(number, running=True)
        if not job.tokens:
            return
        token = job.tokens[0 if zombie else -1]
        answer = self.store.release(job.new.id, token, reason)
        if not job.runs_under(token):
            assert answer is None
            return
        job.give_back(reason)
        assert answer is job.status

    @rule(number=NUMBER)
    def a_worker_falls_silent(self, number: int) -> None:
        job = self.pick(number, running=True)
        self.redis.zadd("fm:leases", {job.new.id: 0}, xx=True)
        reaped = self.store.reap()
        if job.erased or job.status is not Status.RUNNING:
            assert reaped == []
            return
        job.give_back(Release.LOST)
        assert reaped == [(job.new.id, job.status)]
        assert self.store.reap() == []

    @rule(number=NUMBER)
    @precondition(lambda self: len(self.jobs) > 1)
    def a_deadline_passes(self, number: int) -> None:
        job = self.pick(number)
        self.redis.zadd("fm:deadlines", {job.new.id: 0}, xx=True)
        reaped = self.store.reap()
        if job.erased or job.status.terminal:
            assert reaped == []
            return
        job.end(Status.FAILED)
        assert reaped == [(job.new.id, job.status)]

    @rule(number=NUMBER, stranger=RARELY)
    def a_customer_cancels(self, number: int, *, stranger: bool) -> None:
        job = self.pick(number, running=number > 1)
        tenant = "stranger" if stranger else job.new.tenant
        try:
            self.store.cancel(tenant, job.new.id)
        except NotFound:
            assert job.erased or stranger
            return
        except Conflict:
            assert job.status.terminal
            return
        assert not stranger
        if job.status is Status.QUEUED:
            job.end(Status.CANCELED)
        else:
            job.cancel = True

    @rule(number=NUMBER, stranger=RARELY)
    @precondition(lambda self: len(self.jobs) > 2)
    def a_job_is_erased(self, number: int, *, stranger: bool) -> None:
        job = self.pick(number)
        mine = not job.erased and not stranger
        tenant = "stranger" if stranger else job.new.tenant
        assert self.store.erase(tenant, job.new.id) is mine
        job.erased |= mine

    @rule()
    def the_dispatcher_rings(self) -> None:
        for name in self.redis.keys("fm:due:*"):
            for job_id in self.redis.zrange(name, 0, -1):
                self.redis.zadd(name, {job_id: 0})
        due = [job.id for job in self.store.due()]
        assert sorted(due) == sorted(job.new.id for job in self.left if job.status is Status.QUEUED)

    @invariant()
    def records_are_as_the_model_says(self) -> None:
        for job in self.jobs[-6:]:
            try:
                found = self.store.get(job.new.tenant, job.new.id)
            except NotFound:
                assert job.erased
                continue
            assert not job.erased
            assert (found.status, found.attempt) == (job.status, job.attempt)
            assert found.cancel_requested == job.cancel
            assert (found.finished_at is not None) == job.status.terminal

    @invariant()
    def every_end_has_one_event_if_it_was_wanted(self) -> None:
        for job in self.left[-6:]:
            if job.new.webhook:
                entries = self.store.deliveries(job.new.tenant, job.new.id)
                wanted = [TERMINAL_EVENT[job.status]] if job.status.terminal else []
                assert [entry["event"] for entry in entries] == wanted

    @invariant()
    def indexes_equal_a_recount(self) -> None:
        expected = self.recount()
        with self.redis.pipeline(transaction=False) as pipe:
            for name in expected:
                pipe.zrange(f"fm:{name}", 0, -1)
            found = dict(zip(expected, map(set, pipe.execute()), strict=True))
        assert found == expected

    def recount(self) -> dict[str, set[str]]:
        """Every index as the model says it should be."""

        def ids(*status: Status, **fields: object) -> set[str]:
            return {
                job.new.id
                for job in self.left
                if job.status in status
                and all(getattr(job.new, name) == value for name, value in fields.items())
            }

        expected = {
            "leases": ids(Status.RUNNING),
            "deadlines": ids(Status.QUEUED, Status.RUNNING),
            "expiry": ids(*ENDS),
        }
        for priority in Priority:
            waiting = ids(Status.QUEUED, priority=priority)
            expected[f"queue:{priority}:starter"] = waiting
            expected[f"due:{priority}:starter"] = waiting
        for tenant in TENANTS:
            expected[f"tenant:{tenant}:queued"] = ids(Status.QUEUED, tenant=tenant)
            expected[f"tenant:{tenant}:jobs"] = ids(*Status, tenant=tenant)
        return expected


def test_the_store_agrees_with_the_model(redis: Redis, settings: Settings) -> None:
    run_state_machine_as_test(
        lambda: StoreAndModel(redis, settings),
        settings=hypothesis_settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
