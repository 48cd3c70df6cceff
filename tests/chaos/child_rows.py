"""Photos that kill, stall or starve the engine child, and a host that kills it."""

from __future__ import annotations

import os
import signal
import statistics
import time

from shared.jobs.job import Stage, Status
from tests.chaos.audit import Expected, audit
from tests.chaos.customer import Customer
from tests.chaos.devices import gpu_there
from tests.chaos.photos import Act
from tests.chaos.processes import badness, name, tree
from tests.chaos.receiver import Receiver
from tests.chaos.restarts import Restarts
from tests.chaos.rows import Run, Skipped, row
from tests.chaos.service import Service, eventually

_CRASHES = 2
_STALL_S = 6.0
_POISONED = frozenset({"poisoned"})
_GOOD, _BAD = 50, 10
_LENGTH_S = 6.0


@row("F2", "engine child segfaults on one input", f"crashes by it ≤ {_CRASHES}, others unharmed")
def crash_child(run: Run) -> None:
    with run.service() as service, Receiver() as receiver:
        service.start("api", "notifier", "worker")
        customer = run.customer(service, receiver)
        (worker,) = service.all("worker")
        leader = worker.pid
        bad = customer.order(Act.CRASH, 0.5)
        customer.submit(bad)
        for _ in range(7):
            customer.submit(customer.order(seconds=1.0))
        run.row.injected = 1
        audit(run.row, service, customer, receiver, expected={bad.serial: _POISONED})
        _count_crashes(run, service, customer)
        run.row.require(worker.child.running and worker.pid == leader, "the parent died, too")
        run.row.require("SIGSEGV" in worker.log(), "the log does not name the signal")


@row("F3", f"that input {_BAD} times among {_GOOD} good ones", "good p95 ≤ twice without",
     alone=True, limit_s=300)  # fmt: skip
def crash_often(run: Run) -> None:
    with run.service() as service, Receiver() as receiver:
        service.start("api", "notifier", "worker", "worker", "worker")
        customer = run.customer(service, receiver)
        alone_s = _p95(customer, _stream(run, customer, bad=0))
        mixed_s = _p95(customer, _stream(run, customer, bad=_BAD))
        run.row.note(f"good jobs' p95 {alone_s:.1f} s alone, {mixed_s:.1f} s among crashes")
        run.row.require(mixed_s <= 2 * alone_s, f"p95 rose {mixed_s / alone_s:.1f}-fold")
        audit(run.row, service, customer, receiver, expected=_expected(customer))
        _count_crashes(run, service, customer)


def _stream(run: Run, customer: Customer, *, bad: int) -> list[str]:
    """Good jobs and bad ones among them, handed in together; the ids of the good ones."""
    acts = [Act.SLEEP] * _GOOD + [Act.CRASH] * bad
    run.die.shuffle(acts)
    good, revived = [], 0
    for act in acts:
        seconds = 0.5 if act is Act.CRASH else _LENGTH_S
        job_id = customer.submit(customer.order(act, seconds))
        good += [job_id] if act is Act.SLEEP else []
    run.row.injected += bad
    give_up = time.monotonic() + 150
    while customer.wait(timeout_s=1) and time.monotonic() < give_up:
        revived += customer.service.revive()
    if revived:
        run.row.note(f"{revived} workers took themselves out")
    return good


def _p95(customer: Customer, jobs: list[str]) -> float:
    found = [customer.service.job(job_id) for job_id in jobs]
    spans = [job.finished_at - job.created_at for job in found if job and job.finished_at]
    return statistics.quantiles(spans, n=20)[-1]


def _expected(customer: Customer) -> Expected:
    """Every photo that crashes has to be called poisoned."""
    orders = (accepted.order for accepted in customer.book.values())
    return {order.serial: _POISONED for order in orders if order.act is Act.CRASH}


def _count_crashes(run: Run, service: Service, customer: Customer) -> None:
    # Runs would count too often: who is beside another one's crash is begun again.
    logs = [text for _, text in service.logs()]
    for accepted in customer.book.values():
        if accepted.order.act is Act.CRASH:
            crashes = sum(log.count(f'"suspects": ["{accepted.job_id}"]') for log in logs)
            run.row.require(crashes, f"{accepted.job_id} is not known to have crashed")
            run.row.require(crashes <= _CRASHES, f"{accepted.job_id} crashed {crashes} times")


@row("F7", "device out of memory once; always", "worker stays up; same lease")
def starve(run: Run) -> None:
    _starve(run)


def _starve(run: Run, device: str = "cpu") -> None:
    with run.service(device=device) as service, Receiver() as receiver:
        service.start("api", "notifier", "worker")
        customer = run.customer(service, receiver)
        (worker,) = service.all("worker")
        leader = worker.pid
        once = [customer.submit(customer.order(Act.STARVE, once=True)) for _ in range(3)]
        run.row.injected += len(once)
        run.row.require(not customer.wait(once, 30), "a smaller batch was not tried")
        for job_id in once:
            job = service.job(job_id)
            run.row.require(job and job.attempt == 1, f"{job_id} was begun again")
        always = customer.submit(customer.order(Act.STARVE))
        run.row.injected += 1
        customer.wait([customer.submit() for _ in range(3)], 30)
        job = service.job(always)
        said = job.error["code"] if job and job.error else None
        waits = job is not None and job.status is Status.QUEUED and job.attempt >= 1
        run.row.require(waits or said == "out-of-memory", f"it became {job and job.status} {said}")
        run.row.require(worker.pid == leader and worker.child.running, "the worker died")
        if waits:
            run.row.note("always: waits to be tried again, out-of-memory when its tries are spent")
            customer.book.pop(always)
            service.store.cancel(customer.tenant, always)
        codes = frozenset({"out-of-memory"})
        starved = {a.order.serial: codes for i, a in customer.book.items() if i == always}
        audit(run.row, service, customer, receiver, expected=starved)


@row("F8", "engine child hangs; its device's context is broken", "again ≤ stall limit + 5 s")
def hang(run: Run) -> None:
    _hang(run)


def _hang(run: Run, device: str = "cpu") -> None:
    with run.service(stall_s=_STALL_S, device=device) as service, Receiver() as receiver:
        service.start("api", "notifier", "worker", "worker")
        customer = run.customer(service, receiver)
        restarts = Restarts(run.row, customer, _STALL_S + 5)
        for act in (Act.HANG, Act.BREAK, Act.HANG, Act.BREAK):
            job_id = customer.submit(customer.order(act, once=True))
            customer.wait_for(job_id, Status.RUNNING, 10)
            job = service.job(job_id)
            restarts.struck({job_id: job.attempt if job else 1})
            run.row.injected += 1
            restarts.watch(20)
            customer.wait([job_id], 20)
        for _ in range(8):
            customer.submit(customer.order(seconds=0.5))
        audit(run.row, service, customer, receiver)
        run.row.note(
            f"stall limit {_STALL_S:g} s; the context is broken by an error in CUDA's words"
        )


@row("F7g", "the same on a GPU, filled for real", "worker stays up; same lease")
def starve_gpu(run: Run) -> None:
    _needs_gpu()
    _starve(run, "cuda")


@row("F8g", "the same on a GPU, its context broken for real", "again ≤ stall limit + 5 s")
def break_gpu(run: Run) -> None:
    _needs_gpu()
    _hang(run, "cuda")


def _needs_gpu() -> None:
    if not gpu_there():
        raise Skipped("this machine has no NVIDIA GPU")


@row("F9", "host memory: the kernel picks its victim", "child is picked; parent and API live")
def squeeze(run: Run) -> None:
    with run.service() as service, Receiver() as receiver:
        service.start("api", "notifier", "worker")
        customer = run.customer(service, receiver)
        (worker,) = service.all("worker")
        for _ in range(3):
            jobs = [customer.submit(customer.order(seconds=2.0)) for _ in range(4)]
            # No photo is being decoded any more: its child would be picked, and be gone by then.
            eventually(lambda jobs=jobs: _all_restored(service, jobs), 10)  # type: ignore[misc]
            victim = max(tree(os.getpid()), key=badness)
            run.row.require(
                victim in tree(worker.pid) - {worker.pid},
                f"the kernel would pick {name(victim)}",
            )
            if victim in tree(worker.pid) - {worker.pid}:
                os.kill(victim, signal.SIGKILL)
                run.row.injected += 1
            answer = customer.send("GET", "/readyz")
            run.row.require(answer and answer.status_code == 200, "the API is not ready")
            customer.wait(jobs, 40)
        run.row.require(worker.child.running, "the parent died, too")
        run.row.note("the victim is the one with the highest oom_score; killed by hand")
        audit(run.row, service, customer, receiver)


def _all_restored(service: Service, jobs: list[str]) -> bool:
    """All are in the engine, at this moment."""
    found = [service.job(job_id) for job_id in jobs]
    return all(job and job.progress and job.progress.stage is Stage.RESTORING for job in found)
