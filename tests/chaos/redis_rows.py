"""Redis that dies, stays away, responds late or never, is full, or is empty."""

from __future__ import annotations

import itertools
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from shared.jobs.job import Status
from tests.chaos.audit import audit
from tests.chaos.customer import Customer
from tests.chaos.proxy import Weather
from tests.chaos.receiver import Receiver
from tests.chaos.restarts import feed
from tests.chaos.rows import Run, row
from tests.chaos.service import Service, eventually

_ERROR_S = 3.0
_MEASURING_S = 0.3  # what this machine may add
_BACK_S = 15.0
_STUFFING = {f"stuffing-{number}": "x" * 500 for number in range(7)}


@contextmanager
def submitting(customer: Customer, *, every_s: float, seconds: float) -> Iterator[None]:
    """Submit a job regularly from a thread in the block, whatever the response."""
    done = threading.Event()

    def work() -> None:
        while not done.wait(every_s):
            order = customer.order(seconds=seconds)
            customer.post(order, key=f"photo-{order.serial}")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@row("F10a", "Redis kill -9 and back in 2 s, five times", "acknowledged lost 0; 503 ≤ 3 s")
def kill_redis(run: Run) -> None:
    with run.service(appendfsync="always") as service, Receiver() as receiver:
        service.start("api", "notifier", "worker")
        customer = run.customer(service, receiver)
        with submitting(customer, every_s=0.3, seconds=0.5):
            for _ in range(5):
                time.sleep(run.die.uniform(1.5, 3.0))
                service.valkey.kill()
                killed = time.time()
                run.row.injected += 1
                time.sleep(2)
                service.valkey.start()
                _await_work(run, customer, killed + 2)
        audit(run.row, service, customer, receiver, timeout_s=90)
        _judge_errors(run, customer)
        _assert_no_mass_rerun(run, service, customer, spare=4 * run.row.injected)


@row("F10b", "Redis away for 60 s", "acknowledged lost 0; 503 ≤ 3 s", long=True, limit_s=240)
def redis_away(run: Run) -> None:
    with run.service(appendfsync="always") as service, Receiver() as receiver:
        service.start("api", "notifier", "worker")
        customer = run.customer(service, receiver)
        feed(customer, jobs=12, seconds=itertools.repeat(3.0))
        eventually(lambda: len(_running(customer)) == 4, 10)
        service.valkey.kill()
        run.row.injected = 1
        with submitting(customer, every_s=1, seconds=0.5):
            time.sleep(60)
        service.valkey.start()
        _await_work(run, customer, time.time())
        audit(run.row, service, customer, receiver, timeout_s=90)
        _judge_errors(run, customer)
        _assert_no_mass_rerun(run, service, customer, spare=0)


@row(
    "F28",
    "Redis' primary killed under load, three times",
    "failover ≤ 15 s; acknowledged lost 0",
    limit_s=300,
)
def kill_primary(run: Run) -> None:
    """The replica has nearly every write; manifests bring back what it has not."""
    with run.service(sentinel=True) as service, Receiver() as receiver:
        service.start("api", "notifier", "worker")
        customer = run.customer(service, receiver)
        watched = service.watched
        with submitting(customer, every_s=0.3, seconds=0.5):
            for _ in range(3):
                time.sleep(run.die.uniform(2.0, 4.0))
                dead, killed = watched.kill_primary(), time.time()
                run.row.injected += 1
                _await_work(run, customer, killed)
                watched.start_server(dead)
                eventually(lambda dead=dead: watched.is_replica(dead), 30)  # type: ignore[misc]
        audit(run.row, service, customer, receiver, timeout_s=180)
        _judge_errors(run, customer)
        run.row.note(f"{len(customer.book)} jobs, {len(service.runs())} runs")


def _await_work(run: Run, customer: Customer, since: float) -> None:
    """Measure the time until a new job begins, now that Redis is back."""
    job_id = customer.submit(patience_s=30, priority="high")  # ahead of the queued jobs
    customer.wait([job_id], 30)
    job = customer.service.job(job_id)
    if job is None or job.started_at is None:
        run.row.breach("no job begins after Redis is back")
    else:
        run.row.recovered(max(0.0, job.started_at - since), _BACK_S, "going on")


def _running(customer: Customer) -> list[str]:
    jobs = customer.open_jobs().items()
    return [job_id for job_id, job in jobs if job.status is Status.RUNNING]


def _judge_errors(run: Run, customer: Customer) -> None:
    """During the outage every response is 503, and fast."""
    refused = [answer for answer in customer.answers if answer.status >= 400]
    run.row.require(refused, "nobody was told of the outage")
    slowest = max((answer.seconds for answer in refused), default=0.0)
    run.row.note(f"{len(refused)} refusals, the slowest after {slowest:.2f} s")
    run.row.require(slowest <= _ERROR_S + _MEASURING_S, f"a refusal took {slowest:.1f} s")
    codes = {(answer.status, answer.code) for answer in refused}
    known = {(503, "unavailable"), (409, "idempotency-in-progress")}
    run.row.require(codes <= known, f"refusals were {sorted(codes)}")


def _assert_no_mass_rerun(run: Run, service: Service, customer: Customer, *, spare: int) -> None:
    runs = len(service.runs())
    run.row.note(f"{len(customer.book)} jobs, {runs} runs")
    run.row.require(runs <= len(customer.book) + spare, f"{runs} runs of {len(customer.book)} jobs")


@row("F11", "Redis slow (2 s), then a black hole", "API ≤ 3 s, leases lost 0, worker back ≤ 15 s")
def slow_redis(run: Run) -> None:
    with run.service() as service, Receiver() as receiver:
        api, _, one, other = service.start("api", "notifier", "worker", "worker")
        customer = run.customer(service, receiver)
        slow, hole = Weather(latency_s=2), Weather(black_hole=True)
        for weather in (slow, hole):
            with api.redis.bad(weather):
                for _ in range(3):
                    customer.send("GET", "/v1/restorations")
                    customer.post(customer.order())
                    run.row.injected += 2
        _judge_errors(run, customer)
        feed(customer, jobs=6, seconds=itertools.repeat(14.0))
        eventually(lambda: len(_running(customer)) == 6, 10)
        with one.redis.bad(slow), other.redis.bad(slow):
            time.sleep(12)
            run.row.injected += 1
        again = [i for i, job in customer.open_jobs().items() if job.attempt != 1]
        run.row.require(not again, f"{len(again)} leases were lost to a slow Redis")
        customer.wait(timeout_s=30)
        with one.redis.bad(hole):
            time.sleep(8)
            run.row.injected += 1
        other.freeze()
        job_id = customer.submit()
        since = customer.book[job_id].at
        run.row.require(not customer.wait([job_id], 2 * _BACK_S), "the worker never came back")
        job = service.job(job_id)
        if job and job.started_at:
            run.row.recovered(max(0.0, job.started_at - since), _BACK_S, "a worker's return")
        other.thaw()
        audit(run.row, service, customer, receiver)


@row("F13", "Redis at maxmemory; its disk full", "503, evicted 0, heals")
def full_redis(run: Run) -> None:
    with run.service(small_disk=True) as service, Receiver() as receiver:
        parts = service.start("api", "notifier", "worker")
        customer = run.customer(service, receiver)
        customer.wait([customer.submit() for _ in range(3)])
        used = int(service.redis.info("memory")["used_memory"])  # type: ignore[index]
        service.redis.config_set("maxmemory", used + 100_000)
        _fill(run, customer, "memory")
        service.redis.config_set("maxmemory", 0)
        _await_work(run, customer, time.time())

        customer.wait(timeout_s=60)
        with _full_disk(run, service):
            _fill(run, customer, "disk")
            time.sleep(2)  # an idle worker polls Redis every second, which is refused, too
        _await_work(run, customer, time.time())

        evicted = int(service.redis.info("stats")["evicted_keys"])  # type: ignore[index]
        run.row.require(evicted == 0, f"{evicted} keys were evicted")
        ended = [part.kind for part in parts if not part.child.running]
        run.row.require(not ended, f"these ended: {ended}")
        audit(run.row, service, customer, receiver)


@contextmanager
def _full_disk(run: Run, service: Service) -> Iterator[None]:
    pid = service.valkey.child.pid if service.valkey.child else 0
    if service.disk.possible:
        run.row.note("disk full: a tmpfs of its own, without a byte left")
        with service.disk.full(pid):
            yield
        return
    run.row.note("disk full: by a limit on the size of the append-only file (no right to mount)")
    appended = service.valkey.folder.glob("appendonlydir/*.aof")
    written = max(path.stat().st_size for path in appended)
    unlimited = resource.RLIM_INFINITY
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (written + 20_000, unlimited))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))


def _fill(run: Run, customer: Customer, what: str) -> None:
    """Submit until it is refused, and for a while longer."""
    before = len(customer.answers)

    def refused() -> bool:
        order = customer.order(seconds=1.0)
        customer.post(order, key=f"photo-{order.serial}", metadata=_STUFFING)
        return any(answer.status == 503 for answer in customer.answers[before:])

    full = eventually(refused, 30)
    run.row.require(full, f"full {what} was not answered 503")
    for _ in range(5):
        refused()
    run.row.injected += 1


@row("F12", "Redis emptied while jobs wait, run and have ended", "all rebuilt, none again")
def empty_redis(run: Run) -> None:
    with run.service() as service, Receiver() as receiver:
        service.start("api", "notifier", "worker")
        customer = run.customer(service, receiver)
        ended = [customer.submit() for _ in range(5)]
        customer.wait(ended)
        eventually(lambda: ended[0] in receiver.by_job(), 5)
        feed(customer, jobs=15, seconds=itertools.repeat(3.0))
        eventually(lambda: len(_running(customer)) == 4, 10)
        unfinished = customer.open_jobs()
        service.redis.flushall()
        lost_at = time.time()
        run.row.injected = len(unfinished)
        said = service.command("rebuild")
        run.row.note(f"facemend rebuild: {said.splitlines()[-1] if said else 'silent'}")
        run.row.require(not customer.wait(unfinished, 60), "rebuilt jobs do not end")
        for job_id in unfinished:
            job = service.job(job_id)
            if job and job.finished_at:
                run.row.recovered(job.finished_at - lost_at, 60.0, "the end of a rebuilt job")
        runs = service.runs()
        for job_id in ended:
            forgotten = customer.book.pop(job_id)
            again = runs.count(forgotten.order.serial) - 1
            run.row.duplicated += again
            run.row.require(not again, f"{job_id} had ended and ran again")
        audit(run.row, service, customer, receiver)
