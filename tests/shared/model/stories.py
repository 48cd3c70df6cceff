"""The stories that hypothesis makes up: who does what, how far they come, and what dies when."""

from __future__ import annotations

import sys
from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shared.jobs.job import Priority, Release
from shared.jobs.runs import RING_AGAIN_S
from shared.jobs.store import TOMBSTONE_S
from tests.shared.model.caller import TENANTS
from tests.shared.model.customers import Again, Erasure, Submission
from tests.shared.model.duties import Courier, Dispatch, Expiry, Reaping
from tests.shared.model.ledger import Client, Story
from tests.shared.model.observation import observe
from tests.shared.model.rest import come_to_rest
from tests.shared.model.runs import Run
from tests.shared.model.world import World

RARELY = st.sampled_from([False, False, False, True])
WHICH = st.integers(0, 3)  # picks one of those there are
MAX_CLIENTS = 6
#: How many steps a caller does before the story turns to somebody else; most come to their end.
ALL = 100
FAR = st.sampled_from([1, 2, 3, 4, 5, 6, 7, ALL, ALL, ALL, ALL])
FATES = st.sampled_from(["succeeded", "succeeded", "failed", "transient", "drain"])
HEARD = st.sampled_from(["delivered", "answer lost", "down"])
#: From the blink of an eye to longer than a lease, a reservation, a backoff, a deadline.
PAUSES = st.sampled_from([0.2, 2.0, 4.0, 12.0, 12.0, 70.0, 400.0, 90_000.0])
MANY = st.sampled_from([1, 2, 3, 7, 13])
WEARING = st.sampled_from([*Release])


class Stories(RuleBasedStateMachine):
    """Make a world; each rule is something that happens in it."""

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
                far=ALL,
            )

    # --- customers --------------------------------------------------------------------------

    @precondition(lambda self: len(self.world.clients) < MAX_CLIENTS)
    @rule(
        tenant=st.integers(0, 1),
        priority=st.sampled_from(Priority),
        keyed=st.booleans(),
        wants_events=st.booleans(),
        poison=RARELY,
        far=FAR,
    )
    def a_client_submits(
        self,
        *,
        tenant: int,
        priority: Priority,
        keyed: bool,
        wants_events: bool,
        poison: bool,
        far: int,
    ) -> None:
        number = len(self.world.clients)
        client = Client(number, TENANTS[tenant], priority, keyed, wants_events, poison)
        self.world.clients.append(client)
        self.world.begin(Submission(self.world, client), far)

    @rule(which=WHICH, wish=st.sampled_from(["ask again", "cancel", "retry", "erase"]), far=FAR)
    def a_customer_acts(self, which: int, wish: str, far: int) -> None:
        story = self.pick(which, ended=wish == "retry")
        if story is None:
            return
        if wish == "ask again" and story.client.keyed:
            self.world.begin(Submission(self.world, story.client), far)
        elif wish == "cancel":
            self.world.begin(Erasure(self.world, story), 1)
            self.world.forget(self.world.processes[-1])
        elif wish == "retry":
            self.world.begin(Again(self.world, story), far)
        elif wish == "erase" and len(self.world.ledger.left) > 1:
            self.world.begin(Erasure(self.world, story), far)

    # --- workers ----------------------------------------------------------------------------

    @rule(engine=st.integers(0, 1), fate=FATES, far=FAR)
    def a_worker_starts(self, engine: int, fate: str, far: int) -> None:
        if not self.world.hear(self.world.engines[engine], fate, far):
            self.world.pass_time(RING_AGAIN_S)
            self.world.do(Dispatch(self.world))
            self.world.hear(self.world.engines[engine], fate, far)

    @rule(which=WHICH, far=FAR)
    def a_process_goes_on(self, which: int, far: int) -> None:
        if processes := self.world.processes:
            self.world.go_on(processes[which % len(processes)], far)

    @rule(which=WHICH)
    def a_process_is_killed(self, which: int) -> None:
        if processes := self.world.processes:
            self.world.kill(processes[which % len(processes)])

    @rule(fate=FATES, far=st.integers(2, 8), restarts=st.booleans())
    def a_worker_freezes(self, fate: str, far: int, restarts: bool) -> None:
        """In the middle of a job, past its lease; it goes on some time later, and does not know."""
        frozen, other = self.world.engines
        self.a_worker_starts(0, fate, far)
        self.world.pass_time(self.world.settings.lease_s + 2, frozen)
        self.world.do(Reaping(self.world))
        if restarts:
            self.world.do(Dispatch(self.world))
            self.world.hear(other, fate, 3)

    @rule(far=FAR)
    def a_frozen_worker_goes_on(self, far: int) -> None:
        for process in [*self.world.processes]:
            if isinstance(process.caller, Run) and process.caller.fenced:
                self.world.go_on(process, far)

    @rule(which=WHICH, how=WEARING, times=MANY)
    def a_job_wears_out(self, which: int, how: Release, times: int) -> None:
        """The same thing goes wrong with every start."""
        if story := self.pick(which):
            for _ in range(times):
                self.world.wear_out(story, how)

    # --- the notifier -----------------------------------------------------------------------

    @rule(duty=st.sampled_from(["ring", "reap", "expire", "sweep"]), far=FAR)
    def a_notifier_acts(self, duty: str, far: int) -> None:
        match duty:
            case "ring":
                self.world.begin(Dispatch(self.world), far)
            case "reap":
                self.world.do(Reaping(self.world))
            case "expire":
                self.world.begin(Expiry(self.world), far)
            case "sweep":
                self.world.sweep()

    @rule(fate=HEARD, far=FAR)
    def a_webhook_is_sent(self, fate: str, far: int) -> None:
        self.world.begin(Courier(self.world, fate), far)

    # --- time and chance --------------------------------------------------------------------

    @rule(pause_s=PAUSES)
    def time_passes(self, pause_s: float) -> None:
        if pause_s > TOMBSTONE_S:
            self.world.end_the_day()
        self.world.pass_time(pause_s)

    @rule(lost=st.booleans())
    def bells_are_lost_or_doubled(self, lost: bool) -> None:
        if lost:
            self.world.bells.lose_all()
        else:
            self.world.bells.double_all()

    @precondition(lambda self: self.world.ledger.tally["times that Redis was lost"] == 0)
    @rule(really=RARELY)
    def redis_is_lost(self, really: bool) -> None:
        if really:
            self.world.lose_redis()

    # --- what must hold ---------------------------------------------------------------------

    @invariant()
    def promises_are_kept(self) -> None:
        observe(self.world)

    def teardown(self) -> None:
        if sys.exception() is None:  # otherwise a promise was broken on the way
            come_to_rest(self.world)

    def pick(self, which: int, *, ended: bool = False) -> Story | None:
        among = [story for story in self.world.ledger.left if story.ended or not ended]
        return among[which % len(among)] if among else None
