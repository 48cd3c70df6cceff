"""Workers that die, sleep, are replaced while they work, or wait for slow servers of photos."""

from __future__ import annotations

import itertools
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shared.jobs.job import Status, new_id
from shared.jobs.queues import QueueName
from shared.queue.celery_queue import RESTORE_TASK, make_celery
from tests.chaos.audit import audit
from tests.chaos.customer import Customer
from tests.chaos.receiver import Receiver
from tests.chaos.restarts import Restarts, feed
from tests.chaos.restorers import MODEL
from tests.chaos.rows import Run, row
from tests.chaos.service import Part, Service, eventually
from tests.origin import Origin

_KILLS = 30
_RESTART_S = 15.0
_STRUCK_AT_MOST = 4  # times that a job may lose its worker here; its budget is 6
_ROUNDS = 10
_DRAIN_S = 25.0
_SLOW_PHOTOS = 8
_CANCELED_S = 4.0  # a beat, and some time on a busy machine


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
    """Kill a busy worker while another one runs, but never the same job too often."""
    ready = [
        part for part in service.all("worker") if part.child.running and service.is_ready(part)
    ]
    run.die.shuffle(ready)
    for worker in ready if len(ready) > 1 else []:
        victims = restarts.victims(worker)
        if victims and max(victims.values()) <= _STRUCK_AT_MOST:
            worker.kill()
            restarts.struck(restarts.victims(worker))  # of the dead worker: none is missing
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
        time.sleep(6)  # more than two beats, and the rest of the stopped worker's job
        for job_id, job in before.items():
            run.row.require(service.job(job_id) == job, f"the zombie changed {job_id}")
        second.freeze()  # from here on, only the other one runs
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
            # Every other worker releases its jobs: it has no time to finish.
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
    """Send messages of a later version: for a queued job, and for an unknown one."""
    celery = make_celery(customer.service.own, role="notifier")
    queued = [i for i, job in customer.open_jobs().items() if job.status is Status.QUEUED]
    for job_id in [*queued[:1], new_id("job")]:
        celery.send_task(
            RESTORE_TASK,
            args=[job_id],
            kwargs={"from_a_later_version": True},
            queue=QueueName(MODEL, "normal").doorbells,  # type: ignore[arg-type]
            retry=False,
        )
    celery.close()


def _assert_no_budget_spent(run: Run, service: Service, customer: Customer) -> None:
    for name, text in service.logs():
        for line in text.splitlines():
            spent = '"event": "reaped' in line or "retry in " in line
            run.row.require(not spent, f"{name} spent a try: {line}")
    errors = [answer for answer in customer.answers if answer.status >= 500]
    run.row.require(not errors, f"clients saw {errors}")


@row("F26", f"{_SLOW_PHOTOS} photos of one tenant at slow servers", "another's p95 ≤ twice alone",
     alone=True)  # fmt: skip
def slow_servers(run: Run) -> None:
    with run.service() as service, _slow_server() as server:
        service.start("api", "notifier", "worker")
        slow, other = run.customer(service, tenant="slow"), run.customer(service, tenant="other")
        alone_s = _p95_s(other)
        jobs = [_submit_url(slow, server.url(path)) for path in itertools.islice(
            itertools.cycle(server.answers), _SLOW_PHOTOS)]  # fmt: skip
        run.row.injected = len(jobs)
        run.row.require(eventually(lambda: _running(slow, jobs), 10), "no slow photo is fetched")
        beside_s = _p95_s(other)
        run.row.note(f"p95 {alone_s:.2f} s alone, {beside_s:.2f} s beside slow servers")
        run.row.require(beside_s <= 2 * alone_s, "a tenant waits for another's slow servers")
        canceled = _cancel_two(run, slow, jobs)
        left = slow.wait([job for job in jobs if job not in canceled], 150)
        run.row.require(not left, f"{len(left)} jobs wait for slow servers for ever")
        ends = [service.job(job, "slow") for job in jobs if job not in canceled]
        codes = Counter(str(job.error["code"]) for job in ends if job and job.error)
        run.row.require(set(codes) == {"input-timeout"}, f"they ended with {dict(codes)}")
        most = max(job.attempt for job in ends if job)
        run.row.note(f"slow photos: {dict(codes)}, {most} tries at most")
        run.row.require(most <= 2, f"a slow server was tried {most} times")
        audit(run.row, service, other)


@contextmanager
def _slow_server() -> Iterator[Origin]:
    server, closing = Origin(), threading.Event()

    def forever(head: bytes, piece: bytes, pause_s: float) -> Callable[[], Iterator[bytes]]:
        def pieces() -> Iterator[bytes]:
            yield head
            while not closing.wait(pause_s):
                yield piece

        return pieces

    head = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"
    length, chunked = b"Content-Length: 9000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"
    server.answers["/byte-a-second.png"] = forever(head + length, b"x", 1)
    server.answers["/interim.png"] = forever(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.2)
    server.answers["/drip.png"] = forever(head + chunked, b"1\r\nx\r\n", 0.05)
    server.answers["/silent.png"] = forever(b"", b"", 1)
    try:
        yield server
    finally:
        closing.set()
        server.close()


def _submit_url(customer: Customer, url: str) -> str:
    answer = customer.send("POST", "/v1/restorations", json={"input": {"url": url}})
    assert answer is not None
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def _running(customer: Customer, jobs: list[str]) -> list[str]:
    found = [customer.service.job(job_id, customer.tenant) for job_id in jobs]
    return [job.id for job in found if job and job.status is Status.RUNNING]


def _p95_s(customer: Customer) -> float:
    """Return the p95 of 20 photos, two at once."""
    taken_s = []
    for _ in range(10):
        jobs = [customer.submit(customer.order(seconds=0.5)) for _ in range(2)]
        customer.wait(jobs, 90)
        found = [customer.service.job(job_id, customer.tenant) for job_id in jobs]
        taken_s += [job.finished_at - job.created_at for job in found if job and job.finished_at]
    return statistics.quantiles(taken_s, n=20)[-1]


def _cancel_two(run: Run, customer: Customer, jobs: list[str]) -> list[str]:
    """Cancel two jobs that wait for their photos; their places go to two others."""
    eventually(lambda: len(_running(customer, jobs)) > 2, 30)
    canceled = _running(customer, jobs)[:2]
    started = time.monotonic()
    for job_id in canceled:
        customer.send("POST", f"/v1/restorations/{job_id}/cancel")
    left = customer.wait(canceled, 30)
    run.row.recovered(time.monotonic() - started, _CANCELED_S, "a cancel")
    run.row.require(not left, "a job that waits for its photo cannot be canceled")
    return canceled
