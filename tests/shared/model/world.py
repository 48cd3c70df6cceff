"""The world of one story: real scripts on real Redis, and all that goes on around them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from redis import Redis

from shared.errors import NotFound
from shared.jobs.job import Priority, Release
from shared.jobs.store import JobStore
from shared.manifests.installation import Installation
from shared.manifests.manifests import Manifests
from shared.queue.celery_queue import restore_queue
from shared.redis.client import Scripts
from shared.settings import Settings
from tests.shared.model.caller import MODEL, Caller, Orders
from tests.shared.model.clock import Clock
from tests.shared.model.duties import Dispatch, Reaping
from tests.shared.model.ledger import Client, Ledger, Story
from tests.shared.model.observation import look, observe
from tests.shared.model.runs import Engine, Run
from tests.shared.model.shelf import Shelf
from worker.notifier.rebuilder import Rebuilder
from worker.notifier.sweeper import Sweeper

QUOTA = 4
PROMISED_S = 120.0  # so long after its manifest a record is missed by the sweeper
BEAT_S = 5.0


class Bells:
    """Celery's messages: a list in Redis for each queue, heard by priority."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def ring(self, job_id: str, model: str, priority: Priority) -> None:
        self._redis.lpush(restore_queue(model, priority), job_id)

    def hear(self) -> str | None:
        for name in self._queues:
            job_id = self._redis.rpop(name)
            if job_id is not None:
                return str(job_id)
        return None

    def lose_all(self) -> None:
        self._redis.delete(*self._queues)

    def double_all(self) -> None:
        for name in self._queues:
            for job_id in self._redis.lrange(name, 0, -1):
                self._redis.lpush(name, job_id)

    @property
    def _queues(self) -> list[str]:
        return [restore_queue(MODEL, rank) for rank in Priority]


@dataclass(slots=True)
class Process:
    """A caller somewhere between its steps."""

    caller: Caller
    steps: Iterator[None] = field(init=False)

    def __post_init__(self) -> None:
        self.steps = self.caller.run()


class World:
    def __init__(
        self, redis: Redis, scripts: Scripts, settings: Settings, orders: Orders | None = None
    ) -> None:
        redis.flushdb()
        self.redis = redis
        self.settings = settings.model_copy(update={"max_queued_per_tenant": QUOTA})
        self.orders = orders or Orders()
        self.clock = Clock(redis)
        self.store = JobStore(redis, self.settings, scripts)
        self.scripts = scripts
        self.shelf = Shelf(lambda: self.clock.now)
        self.manifests = Manifests(self.shelf)
        self.sweeper = Sweeper(self.store, self.shelf, input_ttl_s=settings.input_ttl_s)
        self.asked: dict[str, Client] = {}
        self.bells = Bells(redis)
        self.ledger = Ledger(self.clock, self.settings.lease_s, self.settings.job_deadline_s)
        self.engines = [Engine("worker-0"), Engine("worker-1")]
        self.processes: list[Process] = []
        self.clients: list[Client] = []
        self.steps: Counter[str] = Counter()
        self.watched = True  # after each step, by everyone
        self._ids = 0

    def new_id(self) -> str:
        self._ids += 1
        return f"job_{self._ids:032x}"

    def begin(self, caller: Caller, steps: int) -> None:
        self.processes.append(Process(caller))
        self.go_on(self.processes[-1], steps)

    def go_on(self, process: Process, steps: int = 100) -> None:
        """Let it do some steps more; one that is done leaves."""
        for _ in range(steps):
            self.clock.forward(0.001)
            upcoming = process.caller.todo[0] if process.caller.todo else "end"
            self.steps[f"{type(process.caller).__name__}.{upcoming}".lower()] += 1
            if next(process.steps, "done") == "done":
                self.forget(process)
                return
            if self.watched:
                observe(self)

    def forget(self, process: Process) -> None:
        if process in self.processes:
            self.processes.remove(process)
        if isinstance(process.caller, Run):
            runs = process.caller.engine.runs
            runs[:] = [run for run in runs if run is not process.caller]

    def kill(self, process: Process) -> None:
        """SIGKILL, between two steps; a worker takes all its runs with it."""
        if not isinstance(process.caller, Run):
            self.forget(process)
            return
        engine = process.caller.engine
        for other in [*self.processes]:
            if isinstance(other.caller, Run) and other.caller.engine is engine:
                self.forget(other)

    def hear(self, engine: Engine, fate: str, steps: int) -> bool:
        """A worker takes a message; False: there is none."""
        job_id = self.bells.hear()
        if job_id is None:
            return False
        run = Run(self, engine, job_id, fate)
        engine.runs.append(run)
        self.begin(run, steps)
        return True

    def do(self, caller: Caller) -> None:
        """Do all its steps, undisturbed."""
        self.begin(caller, 100)

    def pass_time(self, seconds: float, silent: Engine | None = None) -> None:
        """Workers beat meanwhile, but for one that is frozen."""
        while seconds > 0:
            step_s = min(seconds, BEAT_S) if seconds <= 10 * BEAT_S else seconds
            self.clock.forward(step_s)
            seconds -= step_s
            for engine in self.engines:
                for run in engine.runs:
                    if engine is not silent:
                        run.beat()

    def wear_out(self, story: Story, how: Release) -> None:
        """A start of a job goes wrong, and nothing else happens meanwhile."""
        run = Run(self, Engine("worker-9"), story.job_id, how)
        run.claim()
        if run.token is None:
            return
        if how is Release.CRASH and run.poison:
            run.crash()
        elif how in {Release.TRANSIENT, Release.DRAIN}:
            run.give_back()
            self.pass_time(BEAT_S)
            Dispatch(self).due()  # the wait is over, and somebody has to say so
        else:
            self.pass_time(2 * self.settings.lease_s)
            Reaping(self).reap()

    def end_the_day(self) -> None:
        """For a day, erased jobs are known: no request lives longer, and no day goes unswept."""
        for process in [*self.processes]:
            if not isinstance(process.caller, Run):
                self.kill(process)
        self.pass_time(PROMISED_S)
        self.sweep()

    def sweep(self) -> None:
        """One round of the notifier's sweeper, which may bring jobs back."""
        self.sweeper.sweep_manifests()
        self.sweeper.sweep_objects()
        self._notice_revived()

    def lose_redis(self) -> None:
        """It comes back empty, and somebody runs ``facemend rebuild``."""
        for process in [*self.processes]:
            if isinstance(process.caller, Run) and "break_promise" in [*process.caller.todo][:1]:
                self.kill(process)  # it would take back the promise of a job that runs again
        self.redis.flushdb()
        self.clock.show()
        Rebuilder(self.store, self.shelf).all()
        Installation(self.store.recovery, self.shelf).adopt()
        self.ledger.lost(look(self, self.ledger.stories).jobs)
        self._notice_revived()

    def _notice_revived(self) -> None:
        for job_id, client in self.asked.items():
            try:
                job = self.store.get(client.tenant, job_id)
            except NotFound:
                continue
            if job_id not in self.ledger.stories:
                self.ledger.created(job_id, client, job.created_at)
            elif job.generation > self.ledger.stories[job_id].generation:
                self.ledger.retried(self.ledger.stories[job_id])
