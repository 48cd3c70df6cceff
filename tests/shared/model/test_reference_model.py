"""The store responds to any sequence of calls as the reference model expects.

Here the calls follow one after the other. ``state_machine`` covers processes that die in between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shared.errors import Conflict, NotFound
from shared.jobs.job import Event, Priority, Progress, Release, Stage, Status
from shared.jobs.record import NewJob, Outcome
from shared.jobs.runs import Beat
from tests.shared.model.caller import TENANTS
from tests.shared.model.conftest import Worlds
from tests.shared.model.observation import check_indexes, read_all
from tests.shared.model.reference_model import ReferenceJob
from tests.shared.model.world import World

ENDS = [Status.SUCCEEDED, Status.FAILED, Status.CANCELED]
RARELY = st.sampled_from([False, False, False, True])
NUMBER = st.integers(0, 3)  # selects one of the jobs that exist


class StoreAndModel(RuleBasedStateMachine):
    def __init__(self, world: World) -> None:
        super().__init__()
        self.world, self.store = world, world.store
        self.jobs: list[ReferenceJob] = []

    @property
    def remaining(self) -> list[ReferenceJob]:
        return [job for job in self.jobs if not job.erased]

    def pick(self, number: int, *, running: bool = False) -> ReferenceJob:
        """Select one of the last jobs; with ``running`` one that runs, if there is one."""
        among = [job for job in self.remaining if job.status is Status.RUNNING] if running else []
        among = among or self.jobs[-4:]
        return among[number % len(among)]

    def wait(self, seconds: float, silent: ReferenceJob | None = None) -> None:
        """After the time all workers but one renew their leases; then the reaper runs."""
        self.world.clock.forward(seconds)
        expected = []
        for job in self.remaining:
            if not job.status.terminal and job.deadline <= self.world.clock.now:
                job.end(Status.FAILED)
                expected.append(job)
            elif job.status is Status.RUNNING and job is silent:
                job.release(Release.LOST)
                expected.append(job)
            elif job.status is Status.RUNNING:
                self.store.runs.beat(job.new.id, job.tokens[-1])
        reaped = self.store.runs.reap()
        assert sorted(reaped) == sorted((job.new.id, job.status) for job in expected)
        assert self.store.runs.reap() == []

    @property
    def in_a_day(self) -> float:
        return self.world.clock.now + self.world.settings.job_deadline_s

    # --- the API's calls --------------------------------------------------------------------

    @initialize()
    def begin_with_a_job(self) -> None:
        self.create(0, Priority.NORMAL, webhook=True, again=False)

    @precondition(lambda self: sum(not job.status.terminal for job in self.remaining) < 3)
    @rule(
        tenant=st.integers(0, 1),
        priority=st.sampled_from(Priority),
        webhook=st.booleans(),
        again=RARELY,
    )
    def create(self, tenant: int, priority: Priority, *, webhook: bool, again: bool) -> None:
        hook = {"url": "http://127.0.0.1:9/", "events": [*Event]}
        plain: dict[str, Any] = {"key_id": "key_1", "model": "starter", "request": {}, "source": {}}
        ours = {"id": self.world.new_id(), "tenant": TENANTS[tenant], "priority": priority}
        new = NewJob(**plain, **ours, webhook=hook if webhook else None)
        for _ in range(1 + again):
            assert self.store.create(new).status is Status.QUEUED
        self.jobs.append(ReferenceJob(new, self.in_a_day))

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
    def a_customer_retries(self, number: int, *, stranger: bool) -> None:
        job = self.pick(number)
        tenant = "stranger" if stranger else job.new.tenant
        try:
            found = self.store.retry(tenant, job.new.id)
        except NotFound:
            assert job.erased or stranger
            return
        except Conflict:
            assert job.status not in {Status.FAILED, Status.CANCELED}
            return
        assert not stranger
        assert job.status in {Status.FAILED, Status.CANCELED}
        assert (found.status, found.error, found.result) == (Status.QUEUED, None, None)
        job.retry(self.in_a_day)

    @rule(number=NUMBER, stranger=RARELY)
    @precondition(lambda self: len(self.jobs) > 2)
    def a_job_is_erased(self, number: int, *, stranger: bool) -> None:
        job = self.pick(number)
        mine = not job.erased and not stranger
        tenant = "stranger" if stranger else job.new.tenant
        assert bool(self.store.erase(tenant, job.new.id)) is mine
        job.erased |= mine

    # --- the worker's calls -----------------------------------------------------------------

    @rule()
    def every_doorbell_rings_twice(self) -> None:
        for job in 2 * self.jobs[-4:]:
            self.answer_doorbell(job)

    def answer_doorbell(self, doorbell: ReferenceJob) -> None:
        """A doorbell may start any job of its queue; the model does not know whose turn it is."""
        queue = [
            job
            for job in self.remaining
            if job.status is Status.QUEUED and job.new.priority is doorbell.new.priority
        ]
        claim = self.store.runs.claim(doorbell.new.id, "w")
        if doorbell.erased or not queue:
            assert claim is None
            return
        assert claim is not None
        (job,) = (job for job in queue if job.new.id == claim.job.id)
        assert claim.token not in job.tokens
        assert claim.suspect == (Release.CRASH in job.spent)
        job.start(claim.token)
        assert claim.job.attempt == job.attempt

    @rule(number=NUMBER, stale=RARELY, report=st.booleans())
    def a_worker_beats(self, number: int, *, stale: bool, report: bool) -> None:
        job = self.pick(number, running=True)
        if not job.tokens:
            return
        token = job.tokens[0 if stale else -1]
        if report:
            answer = self.store.runs.progress(job.new.id, token, Progress(Stage.RESTORING, 1, 2))
        else:
            answer = self.store.runs.beat(job.new.id, token)
        if not job.runs_under(token):
            assert answer is Beat.FENCED
        else:
            assert answer is (Beat.CANCEL if job.cancel else Beat.GO_ON)

    @rule(number=NUMBER, stale=RARELY, end=st.sampled_from(ENDS), again=RARELY)
    def a_worker_finishes(self, number: int, *, stale: bool, end: Status, again: bool) -> None:
        job = self.pick(number, running=True)
        if not job.tokens:
            return
        token = job.tokens[0 if stale else -1]
        if job.runs_under(token):
            job.end(end)
            job.winner = token
        won = not job.erased and job.winner == token
        for _ in range(1 + again):
            assert bool(self.store.runs.finish(job.new.id, token, Outcome(end))) is won

    @rule(number=NUMBER, stale=RARELY, reason=st.sampled_from(Release), times=st.integers(1, 8))
    def a_worker_gives_back(self, number: int, *, stale: bool, reason: Release, times: int) -> None:
        job = self.pick(number, running=True)
        if not job.tokens:
            return
        token = job.tokens[0 if stale else -1]
        answer = self.store.runs.release(job.new.id, token, reason)
        if not job.runs_under(token):
            assert answer is None
            return
        job.release(reason)
        assert answer is job.status
        if times > 1 and job.status is Status.QUEUED:
            self.answer_doorbell(job)
            self.a_worker_gives_back(0, stale=False, reason=reason, times=times - 1)

    @rule(number=NUMBER)
    def a_worker_was_at_fault(self, number: int) -> None:
        job = self.pick(number)
        self.store.runs.refund([job.new.id])
        job.refund()

    # --- the notifier's calls ---------------------------------------------------------------

    @rule(number=NUMBER)
    def a_worker_falls_silent(self, number: int) -> None:
        self.wait(self.world.settings.lease_s + 1, silent=self.pick(number, running=True))

    @rule(number=NUMBER)
    @precondition(lambda self: len(self.jobs) > 2)
    def a_deadline_passes(self, number: int) -> None:
        self.wait(max(0.0, self.pick(number).deadline - self.world.clock.now))

    @rule()
    def the_dispatcher_rings(self) -> None:
        self.wait(4)
        counts = self.store.counts()
        counted = Counter(job.status for job in self.remaining)
        assert counts["queued"] == counted[Status.QUEUED]
        assert counts["running"] == counted[Status.RUNNING]
        assert counts["kept"] == sum(counted[end] for end in ENDS)
        due = [job.id for job in self.store.runs.due()]
        assert sorted(due) == sorted(
            job.new.id for job in self.remaining if job.status is Status.QUEUED
        )
        assert self.store.runs.due() == []

    # --- what must hold ---------------------------------------------------------------------

    @invariant()
    def records_are_as_the_model_says(self) -> None:
        observation = read_all(self.world, [job.new.id for job in self.jobs])
        for job in self.jobs:
            found = observation.jobs.get(job.new.id)
            assert (found is None) == job.erased
            if found is not None:
                seen = (found.status, found.attempt, found.generation, found.cancel_requested)
                assert seen == (job.status, job.attempt, job.generation, job.cancel)
                assert (found.finished_at is not None) == job.status.terminal
        check_indexes(observation)

    @invariant()
    def every_start_and_end_has_one_event_if_it_was_wanted(self) -> None:
        for job in self.remaining[-6:]:
            if job.new.webhook:
                entries = self.world.outbox.of_job(job.new.tenant, job.new.id)
                assert [entry["event"] for entry in entries] == job.events
                assert len({entry["event_id"] for entry in entries}) == len(entries)


def test_the_store_agrees_with_the_model(
    worlds: Worlds, machine_settings: profile, summary: Callable[[str], None]
) -> None:
    make = worlds(None)
    run_state_machine_as_test(lambda: StoreAndModel(make()), settings=machine_settings)
    summary("the store agrees with the model")
