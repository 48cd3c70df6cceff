"""S3 that fails, is slow, or is away; workers killed between PUT and finish."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from shared.jobs.job import Status
from shared.storage.keys import job_prefixes
from tests.chaos.audit import audit
from tests.chaos.customer import Customer
from tests.chaos.proxy import Weather
from tests.chaos.receiver import Receiver
from tests.chaos.restarts import Restarts
from tests.chaos.rows import Run, row
from tests.chaos.service import TENANT, Service, eventually

_OUTAGE_S = 300.0
_ERROR_S = 3.0
_MEASURING_S = 0.3
_BETWEEN = 3
_SWEEP_S = 5.0
_SWEPT_S = 30.0


@contextmanager
def everywhere(service: Service, weather: Weather) -> Iterator[None]:
    """Apply the same weather between S3 and every process."""
    with ExitStack() as stack:
        for part in service.parts:
            stack.enter_context(part.s3.bad(weather))
        yield


@row("F14a", "S3: 20 % errors; 1 KB/s; reply lost after PUT", "API ≤ 3 s; none failed",
     limit_s=240)  # fmt: skip
def err_storage(run: Run) -> None:
    with run.service() as service, Receiver() as receiver:
        service.start("api", "notifier", "worker")
        customer = run.customer(service, receiver)
        for weather in (Weather(busy_share=0.2), Weather(lost_answer_share=0.3)):
            with everywhere(service, weather):
                for _ in range(25):
                    customer.submit(customer.order(seconds=0.25), patience_s=60)
                customer.wait(timeout_s=90)
        run.row.injected = sum(part.s3.faults for part in service.parts)
        with everywhere(service, Weather(bandwidth_bytes_s=1000)):
            for _ in range(4):
                customer.post(order := customer.order(), key=f"photo-{order.serial}")
                run.row.injected += 1
            customer.wait(timeout_s=60)
        _judge_waits(run, customer)
        audit(run.row, service, customer, receiver, timeout_s=120)


@row("F14b", "S3 away for 5 minutes", "none failed by it; API ≤ 3 s", long=True, limit_s=560)
def storage_away(run: Run) -> None:
    with run.service() as service, Receiver() as receiver:
        service.start("api", "notifier", "worker")
        (worker,) = service.all("worker")
        customer = run.customer(service, receiver)
        worker.freeze()
        for _ in range(8):
            customer.submit(customer.order(seconds=1.0))
        for part in service.parts:
            part.s3.down()
        worker.thaw()
        run.row.injected = 1
        started = time.monotonic()
        for _ in range(5):
            customer.post(customer.order())
        run.row.require(
            all(answer.status == 503 for answer in customer.answers[-5:]),
            "an upload was not answered 503 while S3 was away",
        )
        time.sleep(max(0.0, _OUTAGE_S - (time.monotonic() - started)))
        for part in service.parts:
            part.s3.up()
        back = time.time()
        customer.wait(timeout_s=200)
        for job_id in customer.book:
            job = service.job(job_id)
            if job and job.finished_at:
                run.row.recovered(max(0.0, job.finished_at - back), 200.0, "a job after it")
        _judge_waits(run, customer)
        audit(run.row, service, customer, receiver, timeout_s=5)


def _judge_waits(run: Run, customer: Customer) -> None:
    slowest = max(answer.seconds for answer in customer.answers)
    run.row.note(f"slowest answer of the API {slowest:.2f} s")
    run.row.require(slowest <= _ERROR_S + _MEASURING_S, f"the API took {slowest:.1f} s to answer")


@row("F15", "worker killed between PUT and finish", "orphans 0 after the sweep")
def kill_between(run: Run) -> None:
    with run.service(sweep_s=_SWEEP_S) as service, Receiver() as receiver:
        service.start("api", "notifier", "worker", "worker")
        customer = run.customer(service, receiver)
        restarts = Restarts(run.row, customer, 30.0)
        for _ in range(_BETWEEN):
            _kill_after_put(run, service, customer, restarts)
        audit(run.row, service, customer, receiver)
        started = time.monotonic()
        eventually(lambda: not _orphans(service, customer), _SWEPT_S, pause_s=1)
        orphans = _orphans(service, customer)
        run.row.require(not orphans, f"orphans: {orphans[:3]}")
        run.row.note(f"orphans gone {time.monotonic() - started:.0f} s after the last job's end")


def _kill_after_put(run: Run, service: Service, customer: Customer, restarts: Restarts) -> None:
    job_id = customer.submit(customer.order(seconds=1.0))
    customer.wait_for(job_id, Status.RUNNING)
    worker = service.worker_of(job_id)
    if worker is None:
        run.row.breach("the record does not say who runs the job")
        return
    with worker.s3.bad(Weather(latency_s=1.0)):  # it learns late that the object is stored
        written = eventually(lambda: _results(service, job_id), 20)
        worker.kill()
        victims = restarts.victims(worker)  # of the dead worker: none is missing
    run.row.require(written and victims, "the worker was not caught between PUT and finish")
    restarts.struck(victims)
    run.row.injected += 1
    service.again(worker)
    restarts.watch(30)
    service.wait_ready(worker)


def _results(service: Service, job_id: str) -> list[str]:
    prefix = job_prefixes(TENANT, job_id)[-1]
    return [stored.key for stored in service.storage.list(prefix)]


def _orphans(service: Service, customer: Customer) -> list[str]:
    """Return objects of runs that no record names."""
    orphans = []
    for job_id in customer.book:
        job = service.job(job_id)
        run = job.result["image"]["key"].rpartition("/")[0] if job and job.result else "none"
        orphans += [key for key in _results(service, job_id) if not key.startswith(f"{run}/")]
    return orphans
