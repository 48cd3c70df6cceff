"""The state machine: hypothesis chooses who does what, how many steps, and what dies when."""

from __future__ import annotations

import sys
from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shared.jobs.job import Priority, Release
from shared.jobs.runs import RING_AGAIN_S
from shared.jobs.store import TOMBSTONE_S
from tests.shared.model.caller import TENANTS
from tests.shared.model.clients import ErasureRequest, RetryRequest, Submission
from tests.shared.model.ledger import Client, JobHistory
from tests.shared.model.notifier import Dispatcher, Expiry, Reaper, WebhookDelivery
from tests.shared.model.observation import check_all
from tests.shared.model.quiescence import run_to_quiescence
from tests.shared.model.worker import Run
from tests.shared.model.world import World

RARELY = st.sampled_from([False, False, False, True])
INDEX = st.integers(0, 3)  # selects one of those that exist
MAX_CLIENTS = 6
#: How many steps a caller does before another one continues; most do all.
ALL_STEPS = 100
STEPS = st.sampled_from([1, 2, 3, 4, 5, 6, 7, ALL_STEPS, ALL_STEPS, ALL_STEPS, ALL_STEPS])
FATES = st.sampled_from(["succeeded", "succeeded", "failed", "transient", "drain"])
RECEIVED = st.sampled_from(["delivered", "answer lost", "down"])
#: From an instant to longer than a lease, a reservation, a backoff, a deadline.
PAUSES = st.sampled_from([0.2, 2.0, 4.0, 12.0, 12.0, 70.0, 400.0, 90_000.0])
TIMES = st.sampled_from([1, 2, 3, 7, 13])
RELEASES = st.sampled_from([*Release])


class JobStateMachine(RuleBasedStateMachine):
    """Each rule is something that happens in the world."""

    def __init__(self, world: Callable[[], World]) -> None:
        super().__init__()
        self.world = world()

    @initialize(poison=RARELY)
    def begin_with_two_jobs(self, poison: bool) -> None:
        for wants_events in (True, False):
            self.a_client_submits(
                tenant=0,
                priority=Priority.NORMAL,
                keyed=True,
                wants_events=wants_events,
                poison=poison,
                equal=True,
                steps=ALL_STEPS,
            )

    # --- customers --------------------------------------------------------------------------

    @precondition(lambda self: len(self.world.clients) < MAX_CLIENTS)
    @rule(
        tenant=st.integers(0, 1),
        priority=st.sampled_from(Priority),
        keyed=st.booleans(),
        wants_events=st.booleans(),
        poison=RARELY,
        equal=st.booleans(),
        steps=STEPS,
    )
    def a_client_submits(
        self,
        *,
        tenant: int,
        priority: Priority,
        keyed: bool,
        wants_events: bool,
        poison: bool,
        equal: bool,
        steps: int,
    ) -> None:
        number = len(self.world.clients)
        client = Client(number, TENANTS[tenant], priority, keyed, wants_events, poison, equal)
        self.world.clients.append(client)
        self.world.start(Submission(self.world, client), steps)

    @rule(index=INDEX, wish=st.sampled_from(["ask again", "cancel", "retry", "erase"]), steps=STEPS)
    def a_customer_acts(self, index: int, wish: str, steps: int) -> None:
        history = self.pick(index, ended=wish == "retry")
        if history is None:
            return
        if wish == "ask again" and history.client.keyed:
            self.world.start(Submission(self.world, history.client), steps)
        elif wish == "cancel":
            self.world.start(ErasureRequest(self.world, history), 1)
            self.world.drop(self.world.processes[-1])
        elif wish == "retry":
            self.world.start(RetryRequest(self.world, history), steps)
        elif wish == "erase" and len(self.world.ledger.remaining) > 1:
            self.world.start(ErasureRequest(self.world, history), steps)

    # --- workers ----------------------------------------------------------------------------

    @rule(worker=st.integers(0, 1), fate=FATES, steps=STEPS)
    def a_worker_starts(self, worker: int, fate: str, steps: int) -> None:
        if not self.world.ring(self.world.workers[worker], fate, steps):
            self.world.pass_time(RING_AGAIN_S)
            self.world.run_all(Dispatcher(self.world))
            self.world.ring(self.world.workers[worker], fate, steps)

    @rule(index=INDEX, steps=STEPS)
    def a_process_goes_on(self, index: int, steps: int) -> None:
        if processes := self.world.processes:
            self.world.resume(processes[index % len(processes)], steps)

    @rule(index=INDEX)
    def a_process_is_killed(self, index: int) -> None:
        if processes := self.world.processes:
            self.world.kill(processes[index % len(processes)])

    @rule(fate=FATES, steps=st.integers(2, 8), restarts=st.booleans())
    def a_worker_freezes(self, fate: str, steps: int, restarts: bool) -> None:
        """In the middle of a job, for longer than its lease. It continues later without notice."""
        frozen, other = self.world.workers
        self.a_worker_starts(0, fate, steps)
        self.world.pass_time(self.world.settings.lease_s + 2, frozen)
        self.world.run_all(Reaper(self.world))
        if restarts:
            self.world.run_all(Dispatcher(self.world))
            self.world.ring(other, fate, 3)

    @rule(steps=STEPS)
    def a_frozen_worker_goes_on(self, steps: int) -> None:
        for process in [*self.world.processes]:
            if isinstance(process.caller, Run) and process.caller.fenced:
                self.world.resume(process, steps)

    @rule(index=INDEX, how=RELEASES, times=TIMES)
    def a_job_fails_again_and_again(self, index: int, how: Release, times: int) -> None:
        """Each start fails in the same way."""
        if history := self.pick(index):
            for _ in range(times):
                self.world.fail_start(history, how)

    # --- the notifier -----------------------------------------------------------------------

    @rule(duty=st.sampled_from(["ring", "reap", "expire", "sweep"]), steps=STEPS)
    def a_notifier_acts(self, duty: str, steps: int) -> None:
        match duty:
            case "ring":
                self.world.start(Dispatcher(self.world), steps)
            case "reap":
                self.world.run_all(Reaper(self.world))
            case "expire":
                self.world.start(Expiry(self.world), steps)
            case "sweep":
                self.world.sweep()

    @rule(fate=RECEIVED, steps=STEPS)
    def a_webhook_is_sent(self, fate: str, steps: int) -> None:
        self.world.start(WebhookDelivery(self.world, fate), steps)

    # --- time and chance --------------------------------------------------------------------

    @rule(pause_s=PAUSES)
    def time_passes(self, pause_s: float) -> None:
        if pause_s > TOMBSTONE_S:
            self.world.end_the_day()
        self.world.pass_time(pause_s)

    @rule(lost=st.booleans())
    def doorbells_are_lost_or_doubled(self, lost: bool) -> None:
        if lost:
            self.world.doorbells.lose_all()
        else:
            self.world.doorbells.double_all()

    @precondition(lambda self: self.world.ledger.tally["times that Redis was lost"] == 0)
    @rule(really=RARELY)
    def redis_is_lost(self, really: bool) -> None:
        if really:
            self.world.lose_redis()

    # --- what must hold ---------------------------------------------------------------------

    @invariant()
    def guarantees_hold(self) -> None:
        check_all(self.world)

    def teardown(self) -> None:
        if sys.exception() is None:  # otherwise a check has already failed
            run_to_quiescence(self.world)

    def pick(self, index: int, *, ended: bool = False) -> JobHistory | None:
        among = [history for history in self.world.ledger.remaining if history.ended or not ended]
        return among[index % len(among)] if among else None
