"""The worker's part in a story: a bell is heard, a job runs, its end is written."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shared.errors import Poisoned
from shared.jobs.job import Progress, Release, Stage, Status
from shared.jobs.store import Beat, Outcome
from shared.storage.keys import result_key
from tests.shared.model.caller import Caller

if TYPE_CHECKING:
    from tests.shared.model.world import World


@dataclass
class Engine:
    """A worker process: its runs share an engine child, but a suspect has the child for itself."""

    name: str
    runs: list[Run] = field(default_factory=list)

    def admits(self, run: Run) -> bool:
        inside = [other for other in self.runs if other.inside]
        return not inside or not (run.suspect or any(other.suspect for other in inside))

    def die(self) -> None:
        """The child dies: every run inside has to give its job back."""
        for run in self.runs:
            if run.inside:
                run.inside = False
                run.todo = deque(["crash"])


class Run(Caller):
    """One ring of the bell, heard by a worker. ``fate``: what becomes of the work."""

    def __init__(self, world: World, engine: Engine, job_id: str, fate: str) -> None:
        super().__init__(world, world.orders.run)
        self.engine, self.job_id, self.fate = engine, job_id, fate
        self.token: str | None = None
        self.inside = self.suspect = False
        self.outcome: Outcome | None = None

    @property
    def fenced(self) -> bool:
        """Its lease is another's by now, or nobody's."""
        return self.token != self.world.ledger.stories[self.job_id].holder

    def beat(self) -> None:
        """Prolong the lease, while the steps go on."""
        if self.token is None:
            return
        answer = self.world.store.beat(self.job_id, self.token)
        self.world.ledger.prolonged(self.job_id, self.token, answer)

    def claim(self) -> None:
        """A bell only says that there may be work: it may start another job of its queue."""
        self.world.ledger.heard(self.job_id)
        claim = self.world.store.claim(self.job_id, self.engine.name)
        if claim is None:
            self.todo.clear()
            return
        story = self.world.ledger.granted(claim)
        self.job_id, self.token, self.suspect = claim.job.id, claim.token, claim.suspect
        self.tenant, self.generation = story.tenant, story.generation
        self.poison = story.client.poison

    def fetch(self) -> None:
        self._report(Stage.FETCHING)

    def enter(self) -> None:
        if self.engine.admits(self):
            self.inside = True
        else:
            self.todo.appendleft("enter")  # it waits for its turn, and beats meanwhile

    def restore(self) -> None:
        if self.poison:
            self.engine.die()
            return
        self.inside = False
        if self.fate in {"transient", "drain"}:
            self.todo = deque(["give_back"])
        elif self.fate == "failed":
            self._end(Outcome(Status.FAILED, error={"code": "corrupt-image"}))
        else:
            self._report(Stage.PUBLISHING)

    def put(self) -> None:
        self.world.shelf.put(self._key, b"result", "image/png")

    def seal(self) -> None:
        self.world.manifests.seal(self.tenant, self.job_id, self._token, self._success)

    def finish(self) -> None:
        outcome = self.outcome or self._success
        won = self.world.store.finish(self.job_id, self._token, outcome)
        self.world.ledger.finished(self.job_id, self._token, won=won)
        if not won:
            self.todo.clear()

    def announce(self) -> None:
        """Only a mutant does this."""
        self.world.scripts.run("post_event", self.job_id)

    def break_promise(self) -> None:
        self.world.manifests.remove(self.tenant, self.job_id, self.generation)

    def give_back(self) -> None:
        self._release(Release(self.fate))

    def crash(self) -> None:
        self._release(Release.CRASH, error=Poisoned().problem())

    def _release(self, reason: Release, error: dict[str, Any] | None = None) -> None:
        store, token = self.world.store, self._token
        delay_s = 2.0 if reason is Release.TRANSIENT else 0.0
        answer = store.release(self.job_id, token, reason, delay_s=delay_s, error=error)
        self.world.ledger.released(self.job_id, token, reason, answer)
        if answer is not None and answer.terminal:
            self.todo = deque(["break_promise"])

    def _report(self, stage: Stage) -> None:
        answer = self.world.store.progress(self.job_id, self._token, Progress(stage))
        self.world.ledger.answered(self.job_id, self._token, answer)
        if answer is Beat.FENCED:
            self.inside = False
            self.todo.clear()
        elif answer is Beat.CANCEL:
            self._end(Outcome(Status.CANCELED))

    def _end(self, outcome: Outcome) -> None:
        self.outcome, self.inside = outcome, False
        self.todo = deque(["finish", "break_promise"])

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
