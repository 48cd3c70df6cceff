"""Workers that die, sleep, or are replaced while they work."""

from __future__ import annotations

import itertools
import signal
import time

from shared.jobs.job import Status, new_id
from shared.queue.celery_queue import RESTORE_TASK, make_celery, restore_queue
from tests.chaos.audit import audit
from tests.chaos.customer import Customer
from tests.chaos.receiver import Receiver
from tests.chaos.restarts import Restarts, feed
from tests.chaos.restorers import MODEL
from tests.chaos.rows import Run, row
from tests.chaos.service import Part, Service, eventually

_KILLS = 30
_RESTART_S = 15.0
_STRUCK_AT_MOST = 4  # times that one job may lose its worker here; its budget is 6
_ROUNDS = 10
_DRAIN_S = 25.0


@row("F1", "worker kill -9 in the middle of a job", f"restart ≤ {_RESTART_S:g} s", limit_s=300)
def kill_workers(run: Run) -> None:
    with run.service() as service, Receiver() as receiver:
        service.start("api", "notifier", "worker", "worker", "worker")
        customer = run.customer(service, receiver)
        restarts = Restarts(run.row, customer, _RESTART_S)
        give_up = time.monotonic() + 200
        while run.row.injected < _KILLS and time.monotonic() < give_up:
            feed(customer, jobs=9, seconds=itertools.repeat(1.5))
            _kill_one(run, service, restarts)
            restarts.watch(0.8)
        run.row.require(run.row.injected == _KILLS, f"only {run.row.injected} kills were possible")
        restarts.watch(2 * _RESTART_S)
        audit(run.row, service, customer, receiver)


def _kill_one(run: Run, service: Service, restarts: Restarts) -> None:
    """Kill one that works, while another one is there, and never a job again and again."""
    ready = [
        part for part in service.all("worker") if part.child.running and service.is_ready(part)
    ]
    run.die.shuffle(ready)
    for worker in ready if len(ready) > 1 else []:
        victims = restarts.victims(worker)
        if victims and max(victims.values()) <= _STRUCK_AT_MOST:
            worker.kill()
            restarts.struck(victims)
            run.row.injected += 1
            service.again(worker)
            return


@row("F4", "worker stopped past its lease, then continued", "overwrites 0")
def stop_workers(run: Run) -> None:
    with run.service() as service, Receiver() as receiver:
        service.start("api", "notifier", "worker", "worker")
        customer = run.customer(service, receiver)
        restarts = Restarts(run.row, customer, _RESTART_S)
        first, second = service.all("worker")
        jobs = [customer.submit(customer.order(seconds=3)) for _ in range(8)]
        eventually(lambda: len(restarts.victims(first)) >= 3, 10)
        victims = restarts.victims(first)
        first.freeze()
        restarts.struck(victims)
        run.row.injected = len(victims)
        restarts.watch(2 * _RESTART_S)
        run.row.require(not customer.wait(jobs, 30), "frozen worker's jobs were not done elsewhere")
        before = {job_id: service.job(job_id) for job_id in victims}
        first.thaw()
        time.sleep(6)  # more than two beats, and what was left of the sleepers' work
        for job_id, job in before.items():
            run.row.require(service.job(job_id) == job, f"the zombie changed {job_id}")
        second.freeze()  # from here on, only the one that was asleep
        jobs = [customer.submit() for _ in range(4)]
        run.row.require(not customer.wait(jobs, 20), "the worker that was asleep works no more")
        second.thaw()
        audit(run.row, service, customer, receiver)


@row("F19", f"SIGTERM with 20 jobs in flight, {_ROUNDS} rolling rounds", "drain ≤ 25 s, 5xx 0",
     limit_s=400)  # fmt: skip
def roll(run: Run) -> None:
    with run.service(jobs_in_flight=20) as service, Receiver() as receiver:
        api, _, worker = service.start("api", "notifier", "worker")
        customer = run.customer(service, receiver)
        lengths = itertools.cycle([1.0, 2.0, 3.0])
        for number in range(_ROUNDS):
            # Every other worker gives back what it holds: it has no time to finish.
            fresh = service.launch("worker", drain_s=_DRAIN_S if number % 2 else 0.5)
            service.wait_ready(fresh)
            feed(customer, jobs=20, seconds=lengths)
            eventually(lambda: len(customer.open_jobs()) >= 15, 5)
            _end(run, worker)
            worker = fresh
            if number % 3 == 0:
                (fresh_api,) = service.start("api")
                customer.url = fresh_api.url
                api.child.signal(signal.SIGTERM)
                api = fresh_api
            _ring_in_a_newer_tongue(customer)
        audit(run.row, service, customer, receiver, timeout_s=90)
        _assert_no_budget_spent(run, service, customer)


def _end(run: Run, worker: Part) -> None:
    started = time.monotonic()
    worker.child.signal(signal.SIGTERM)
    run.row.injected += 1
    ended = eventually(lambda: not worker.child.running, _DRAIN_S + 10)
    run.row.recovered(time.monotonic() - started, _DRAIN_S + 5, "a drain")
    run.row.require(
        ended and worker.child.exit_code == 0,
        f"a drained worker ended with {worker.child.exit_code}",
    )


def _ring_in_a_newer_tongue(customer: Customer) -> None:
    """A message as a later version may send it, for a job that waits, and for one unknown."""
    celery = make_celery(customer.service.own, role="notifier")
    queued = [i for i, job in customer.open_jobs().items() if job.status is Status.QUEUED]
    for job_id in [*queued[:1], new_id("job")]:
        celery.send_task(
            RESTORE_TASK,
            args=[job_id],
            kwargs={"from_a_later_version": True},
            queue=restore_queue(MODEL, "normal"),  # type: ignore[arg-type]
            retry=False,
        )
    celery.close()


def _assert_no_budget_spent(run: Run, service: Service, customer: Customer) -> None:
    for name, text in service.logs():
        run.row.require('"event": "reaped' not in text, f"{name} reaped a job")
        run.row.require("will be tried again" not in text, f"{name} spent a try")
    errors = [answer.status for answer in customer.answers if answer.status >= 500]
    run.row.require(not errors, f"clients saw {errors}")
