"""A simulated pool of GPU workers behind one queue, scaled as Kubernetes does it.

The times come from the outside (``Speeds``), so that a measured device can be put in. Nothing of
the product runs here: the simulation compares rules for the number of workers, on the same jobs.

Scaling follows the HorizontalPodAutoscaler (kubernetes.io, "Horizontal Pod Autoscaling", algorithm
and default behaviour) and the manual of KEDA ("Scaling Deployments": polling, cooldown, zero).
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

STEP_S = 1.0


@dataclass(frozen=True, slots=True)
class Speeds:
    """``face_s``: device time of a face; ``job_s``: of everything else in a job, in seconds."""

    face_s: float = 0.05
    job_s: float = 0.15
    start_s: float = 60.0  # of a worker: node, image, model
    drain_s: float = 25.0  # a job that needs longer goes back to the queue


@dataclass(frozen=True, slots=True)
class Arrival:
    at_s: float
    faces: int


@dataclass(slots=True)
class _Worker:
    ready_s: float
    job: Arrival | None = None
    done_s: float = 0.0
    draining_until_s: float = math.inf


@dataclass(slots=True)
class Load:
    """What a rule sees. Seconds are device time."""

    jobs_waiting: int = 0
    seconds_waiting: float = 0.0
    seconds_running: float = 0.0


#: The wanted number of workers, before limits, for a load.
Rule = Callable[[Load], float]


@dataclass(frozen=True, slots=True)
class Scaling:
    rule: Rule
    max_workers: int = 16
    poll_s: float = 15.0
    cooldown_s: float = 300.0  # without load, before the last worker goes
    stabilisation_s: float = 300.0  # a lower number must have been wanted for so long
    max_growth: int = 4  # workers that may be added at once, or twice the number, if that is more


@dataclass(slots=True)
class Outcome:
    waits_s: list[float] = field(default_factory=list)
    worker_s: float = 0.0
    restarted: int = 0

    def wait_s(self, quantile: float) -> float:
        ordered = sorted(self.waits_s)
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]

    @property
    def gpu_hours(self) -> float:
        return self.worker_s / 3600


class Fleet:
    """Runs one trace with one rule."""

    def __init__(self, speeds: Speeds, scaling: Scaling) -> None:
        self._speeds, self._scaling = speeds, scaling
        self._queue: deque[Arrival] = deque()
        self._workers: list[_Worker] = []
        self._wanted: deque[tuple[float, int]] = deque()
        self._idle_since_s: float | None = 0.0
        self.outcome = Outcome()

    def run(self, arrivals: Sequence[Arrival]) -> Outcome:
        """Run until all jobs have ended and the pool has shrunk to zero."""
        coming = [(each.at_s, number, each) for number, each in enumerate(arrivals)]
        heapq.heapify(coming)
        now_s, next_poll_s = 0.0, 0.0
        while coming or self._queue or self._workers:
            while coming and coming[0][0] <= now_s:
                self._queue.append(heapq.heappop(coming)[2])
            if now_s >= next_poll_s:
                self._scale(now_s)
                next_poll_s = now_s + self._scaling.poll_s
            self._work(now_s)
            self.outcome.worker_s += STEP_S * len(self._workers)
            now_s += STEP_S
        return self.outcome

    def _cost_s(self, job: Arrival) -> float:
        return self._speeds.job_s + job.faces * self._speeds.face_s

    def _work(self, now_s: float) -> None:
        """Let each worker do the jobs of one step."""
        for worker in self._workers:
            free_s = max(now_s, worker.ready_s)
            while free_s < now_s + STEP_S:
                if worker.job is not None:
                    if worker.done_s > now_s + STEP_S:
                        break
                    free_s, worker.job = max(free_s, worker.done_s), None
                if not self._queue or worker.draining_until_s < math.inf:
                    break
                worker.job = self._queue.popleft()
                self.outcome.waits_s.append(max(0.0, free_s - worker.job.at_s))
                worker.done_s = free_s + self._cost_s(worker.job)
        self._remove_drained(now_s)

    def _remove_drained(self, now_s: float) -> None:
        left = []
        for worker in self._workers:
            if worker.draining_until_s < math.inf and worker.job is None:
                continue
            if worker.draining_until_s <= now_s and worker.job is not None:
                self._queue.appendleft(worker.job)
                self.outcome.restarted += 1
                continue
            left.append(worker)
        self._workers = left

    def _load(self, now_s: float) -> Load:
        running = (worker.done_s - now_s for worker in self._workers if worker.job is not None)
        return Load(
            len(self._queue), sum(map(self._cost_s, self._queue)), sum(max(0.0, s) for s in running)
        )

    def _scale(self, now_s: float) -> None:
        load, scaling = self._load(now_s), self._scaling
        active = [worker for worker in self._workers if worker.draining_until_s == math.inf]
        wanted = min(scaling.max_workers, math.ceil(scaling.rule(load)))
        if wanted > 0:
            self._idle_since_s = None
        elif self._idle_since_s is None:
            self._idle_since_s = now_s
        self._wanted.append((now_s, wanted))
        while self._wanted[0][0] < now_s - scaling.stabilisation_s:
            self._wanted.popleft()
        if wanted > len(active):
            most = max(2 * len(active), len(active) + scaling.max_growth)
            for _ in range(min(wanted, most) - len(active)):
                self._workers.append(_Worker(now_s + self._speeds.start_s))
            return
        lowest = max(count for _, count in self._wanted)
        if lowest == 0 and not self._cooled_down(now_s):
            lowest = 1
        for worker in sorted(active, key=lambda each: each.done_s)[: len(active) - lowest]:
            worker.draining_until_s = now_s + self._speeds.drain_s

    def _cooled_down(self, now_s: float) -> bool:
        since_s = self._idle_since_s
        return since_s is not None and now_s - since_s >= self._scaling.cooldown_s


def by_face_seconds(seconds_per_worker: float) -> Rule:
    """Return one worker for so many seconds of work, waiting and running."""
    return lambda load: (load.seconds_waiting + load.seconds_running) / seconds_per_worker


def by_list_length(jobs_per_worker: float) -> Rule:
    """Return one worker for so many waiting jobs, as KEDA's scaler of Redis lists does."""
    return lambda load: load.jobs_waiting / jobs_per_worker
