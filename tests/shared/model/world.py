"""The world of one test: real scripts on real Redis, and the processes around them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from redis import Redis

from shared.errors import NotFound
from shared.jobs.job import Priority, Release
from shared.jobs.queues import QueueName
from shared.jobs.store import JobStore
from shared.manifests.installation import Installation
from shared.manifests.manifests import Manifests
from shared.redis.scripts import Scripts
from shared.settings import Settings
from shared.webhooks.outbox import Outbox
from tests.shared.model.caller import MODEL, Caller, StepOrders
from tests.shared.model.clock import Clock
from tests.shared.model.ledger import Client, JobHistory, Ledger
from tests.shared.model.memory_storage import MemoryStorage
from tests.shared.model.notifier import Dispatcher, Reaper
from tests.shared.model.observation import check_all, read_all
from tests.shared.model.worker import Run, WorkerProcess
from worker.notifier.rebuilder import Rebuilder
from worker.notifier.sweeper import Sweeper

QUOTA = 4
OVERDUE_S = 120.0  # so long after its manifest was written the sweeper expects a record
BEAT_S = 5.0


class Doorbells:
    """Celery's messages: a list in Redis for each queue, read by priority."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def ring(self, job_id: str, queue: QueueName) -> None:
        self._redis.lpush(queue.doorbells, job_id)

    def pop(self) -> str | None:
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
        return [QueueName(MODEL, rank).doorbells for rank in Priority]


@dataclass(slots=True)
class Process:
    """A caller between two of its steps."""

    caller: Caller
    steps: Iterator[None] = field(init=False)

    def __post_init__(self) -> None:
        self.steps = self.caller.run()


class World:
    def __init__(
        self,
        redis: Redis,
        scripts: Scripts,
        settings: Settings,
        step_orders: StepOrders | None = None,
    ) -> None:
        redis.flushdb()
        self.redis = redis
        self.settings = settings.model_copy(update={"max_queued_per_tenant": QUOTA})
        self.step_orders = step_orders or StepOrders()
        self.clock = Clock(redis)
        self.store, self.outbox = JobStore(scripts, self.settings), Outbox(scripts)
        self.scripts = scripts
        self.storage = MemoryStorage(lambda: self.clock.now)
        self.manifests = Manifests(self.storage)
        self.sweeper = Sweeper(
            self.store, self.storage, input_ttl_s=settings.input_ttl_s, upload_ttl_s=0
        )
        self.requested: dict[str, Client] = {}
        self.doorbells = Doorbells(redis)
        self.ledger = Ledger(self.clock, self.settings.lease_s, self.settings.job_deadline_s)
        self.workers = [WorkerProcess("worker-0"), WorkerProcess("worker-1")]
        self.processes: list[Process] = []
        self.clients: list[Client] = []
        self.steps: Counter[str] = Counter()
        self.watched = True  # check everything after each step
        self._ids = 0

    def new_id(self) -> str:
        self._ids += 1
        return f"job_{self._ids:032x}"

    def start(self, caller: Caller, steps: int) -> None:
        self.processes.append(Process(caller))
        self.resume(self.processes[-1], steps)

    def resume(self, process: Process, steps: int = 100) -> None:
        """Let it do some more steps; drop it if it is done."""
        for _ in range(steps):
            self.clock.forward(0.001)
            upcoming = process.caller.todo[0] if process.caller.todo else "end"
            self.steps[f"{type(process.caller).__name__}.{upcoming}".lower()] += 1
            if next(process.steps, "done") == "done":
                self.drop(process)
                return
            if self.watched:
                check_all(self)

    def drop(self, process: Process) -> None:
        if process in self.processes:
            self.processes.remove(process)
        if isinstance(process.caller, Run):
            runs = process.caller.worker.runs
            runs[:] = [run for run in runs if run is not process.caller]

    def kill(self, process: Process) -> None:
        """SIGKILL between two steps. All runs of a worker die with it."""
        if not isinstance(process.caller, Run):
            self.drop(process)
            return
        worker = process.caller.worker
        for other in [*self.processes]:
            if isinstance(other.caller, Run) and other.caller.worker is worker:
                self.drop(other)

    def ring(self, worker: WorkerProcess, fate: str, steps: int) -> bool:
        """Let a worker take a doorbell. Return False if there is none."""
        job_id = self.doorbells.pop()
        if job_id is None:
            return False
        run = Run(self, worker, job_id, fate)
        worker.runs.append(run)
        self.start(run, steps)
        return True

    def run_all(self, caller: Caller) -> None:
        """Let a caller do all its steps without a break."""
        self.start(caller, 100)

    def pass_time(self, seconds: float, silent: WorkerProcess | None = None) -> None:
        """Meanwhile the workers renew their leases, except the ``silent`` one."""
        while seconds > 0:
            step_s = min(seconds, BEAT_S) if seconds <= 10 * BEAT_S else seconds
            self.clock.forward(step_s)
            seconds -= step_s
            for worker in self.workers:
                for run in worker.runs:
                    if worker is not silent:
                        run.beat()

    def fail_start(self, history: JobHistory, how: Release) -> None:
        """Let one start of a job fail while nothing else happens."""
        run = Run(self, WorkerProcess("worker-9"), history.job_id, how)
        run.claim()
        if run.token is None:
            return
        if how is Release.CRASH and run.poison:
            run.crash()
        elif how in {Release.TRANSIENT, Release.DRAIN}:
            run.release()
            self.pass_time(BEAT_S)
            Dispatcher(self).due()  # the dispatcher notices that the wait is over
        else:
            self.pass_time(2 * self.settings.lease_s)
            Reaper(self).reap()

    def end_the_day(self) -> None:
        """End requests and sweep: the id of an erased job is blocked for only one day."""
        for process in [*self.processes]:
            if not isinstance(process.caller, Run):
                self.kill(process)
        self.pass_time(OVERDUE_S)
        self.sweep()

    def sweep(self) -> None:
        """One round of the notifier's sweeper, which may restore jobs."""
        self.sweeper.sweep_manifests()
        self.sweeper.sweep_objects()
        self._record_restored()

    def lose_redis(self) -> None:
        """Redis comes back empty, and somebody runs ``facemend rebuild``."""
        for process in [*self.processes]:
            if isinstance(process.caller, Run) and "remove_manifest" in [*process.caller.todo][:1]:
                self.kill(process)  # it would remove the manifest of a job that runs again
        self.redis.flushdb()
        self.clock.show()
        Rebuilder(self.store, self.storage).restore_all()
        Installation(self.store.recovery, self.storage).adopt()
        self.ledger.redis_lost(read_all(self, self.ledger.histories).jobs)
        self._record_restored()

    def _record_restored(self) -> None:
        for job_id, client in self.requested.items():
            try:
                job = self.store.get(client.tenant, job_id)
            except NotFound:
                continue
            if job_id not in self.ledger.histories:
                self.ledger.created(job_id, client, job.created_at)
            elif job.generation > self.ledger.histories[job_id].generation:
                self.ledger.retried(self.ledger.histories[job_id])
