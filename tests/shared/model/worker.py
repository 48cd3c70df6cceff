"""The worker: a doorbell rings, a job runs, its end is written."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shared.errors import InputNotFound, Poisoned
from shared.jobs.job import Job, Progress, Release, Stage, Status
from shared.jobs.record import Outcome
from shared.jobs.runs import Beat, WithoutResult
from shared.storage.keys import result_key
from tests.shared.model.caller import Caller

if TYPE_CHECKING:
    from tests.shared.model.world import World


@dataclass
class WorkerProcess:
    """A worker process: its runs share an worker child, but a suspect has the child for itself."""

    name: str
    runs: list[Run] = field(default_factory=list)

    def admits(self, run: Run) -> bool:
        inside = [other for other in self.runs if other.inside]
        return not inside or not (run.suspect or any(other.suspect for other in inside))

    def die(self) -> None:
        """The engine process dies: every run inside it releases its job."""
        for run in self.runs:
            if run.inside:
                run.inside = False
                run.todo = deque(["crash"])


class Run(Caller):
    """One doorbell and the run that it starts. ``fate``: how the work ends."""

    def __init__(self, world: World, worker: WorkerProcess, job_id: str, fate: str) -> None:
        super().__init__(world, world.step_orders.run)
        self.worker, self.job_id, self.fate = worker, job_id, fate
        self.token: str | None = None
        self.inside = self.suspect = False
        self.outcome: Outcome | None = None
        self.found: Job | None = None
        self.gone: str | None = None

    @property
    def fenced(self) -> bool:
        """Its lease is over; another run may have one."""
        return self.token != self.world.ledger.histories[self.job_id].holder

    def beat(self) -> None:
        """Renew the lease."""
        if self.token is None:
            return
        answer = self.world.store.runs.beat(self.job_id, self.token)
        self.world.ledger.prolonged(self.job_id, self.token, answer)

    def claim(self) -> None:
        """A doorbell only says that there may be work: often another job of the queue starts."""
        self.world.ledger.known(self.job_id)
        claim = self.world.store.runs.claim(self.job_id, self.worker.name)
        if claim is None:
            self.todo.clear()
            return
        history = self.world.ledger.claimed(claim)
        self.job_id, self.token, self.suspect = claim.job.id, claim.token, claim.suspect
        self.tenant, self.generation = history.tenant, history.generation
        self.poison, self.content = history.client.poison, history.client.content

    def fetch(self) -> None:
        self._report(Stage.FETCHING)

    def find_equal(self) -> None:
        found = self.world.store.runs.find_equal(
            self.job_id, self._token, self.content, without=self.gone
        )
        self.world.ledger.sought(self.job_id, self._token, found)
        if isinstance(found, Job):
            self.found = found
            self.todo = deque(["copy", "seal", "finish", "remove_manifest"])
        elif found is not WithoutResult.RUN:
            self.todo.clear()

    def copy(self) -> None:
        """Store the result of an equal job as that of this one, unless it is gone."""
        assert self.found
        assert self.found.result
        try:
            data = self.world.storage.get(self.found.result["image"]["key"], max_bytes=100)
        except InputNotFound:
            self.gone = self.found.id
            order = self.world.step_orders.run
            self.todo = deque(order[order.index("find_equal") :])
        else:
            self.world.storage.put(self._key, data, "image/png")

    def enter(self) -> None:
        if self.worker.admits(self):
            self.inside = True
        else:
            self.todo.appendleft("enter")  # it waits, and renews its lease meanwhile

    def restore(self) -> None:
        if self.poison:
            self.worker.die()
            return
        self.inside = False
        if self.fate in {"transient", "drain"}:
            self.todo = deque(["release"])
        elif self.fate == "failed":
            self._end(Outcome(Status.FAILED, error={"code": "corrupt-image"}))
        else:
            self._report(Stage.PUBLISHING)

    def put(self) -> None:
        self.world.storage.put(self._key, b"result", "image/png")

    def seal(self) -> None:
        self.world.manifests.seal(self.tenant, self.job_id, self._token, self._success)

    def finish(self) -> None:
        outcome = self.outcome or self._success
        won = self.world.store.runs.finish(self.job_id, self._token, outcome)
        self.world.ledger.finished(self.job_id, self._token, won=won)
        if not won:
            self.todo.clear()

    def announce(self) -> None:
        """Only a mutant does this step."""
        self.world.scripts.run("post_event", id=self.job_id)

    def remove_manifest(self) -> None:
        self.world.manifests.remove(self.tenant, self.job_id, self.generation)

    def release(self) -> None:
        self._release(Release(self.fate))

    def crash(self) -> None:
        self._release(Release.CRASH, error=Poisoned().problem())

    def _release(self, reason: Release, error: dict[str, Any] | None = None) -> None:
        store, token = self.world.store, self._token
        delay_s = 2.0 if reason is Release.TRANSIENT else 0.0
        answer = store.runs.release(self.job_id, token, reason, delay_s=delay_s, error=error)
        self.world.ledger.released(self.job_id, token, reason, answer)
        if answer is not None and answer.terminal:
            self.todo = deque(["remove_manifest"])

    def _report(self, stage: Stage) -> None:
        answer = self.world.store.runs.progress(self.job_id, self._token, Progress(stage))
        self.world.ledger.beat_answered(self.job_id, self._token, answer)
        if answer is Beat.FENCED:
            self.inside = False
            self.todo.clear()
        elif answer is Beat.CANCEL:
            self._end(Outcome(Status.CANCELED))

    def _end(self, outcome: Outcome) -> None:
        self.outcome, self.inside = outcome, False
        self.todo = deque(["finish", "remove_manifest"])

    @property
    def _success(self) -> Outcome:
        return Outcome(Status.SUCCEEDED, result={"image": {"key": self._key}})

    @property
    def _token(self) -> str:
        assert self.token
        return self.token

    @property
    def _key(self) -> str:
        return result_key(self.tenant, self.job_id, self._token, "restored.png")
