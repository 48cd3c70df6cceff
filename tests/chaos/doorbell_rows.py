"""Messages lost and doubled, and the processes killed that make up for it."""

from __future__ import annotations

import time

from shared.jobs.job import Priority
from shared.queue.celery_queue import Doorbell, make_celery
from tests.chaos.audit import audit
from tests.chaos.customer import Customer
from tests.chaos.receiver import Receiver
from tests.chaos.restarts import Restarts, feed
from tests.chaos.restorers import MODEL
from tests.chaos.rows import Run, row
from tests.chaos.service import Service, eventually

_START_S = 5.0
_TIMES = 5


@row("F5", "doorbells lost: worker frozen in BRPOP, all Celery keys deleted", "start ≤ 5 s")
def lose_doorbells(run: Run) -> None:
    with run.service() as service, Receiver() as receiver:
        service.start("api", "notifier", "worker", "worker")
        customer = run.customer(service, receiver)
        customer.wait([customer.submit() for _ in range(4)])
        deaf, _ = service.all("worker")
        for _ in range(3):
            time.sleep(0.5)  # let it hang in BRPOP
            deaf.freeze()
            jobs = [customer.submit() for _ in range(6)]
            time.sleep(0.3)
            deaf.kill()
            _expect_start(run, customer, jobs)
            service.again(deaf)
            service.wait_ready(deaf)
        for _ in range(3):
            _delete_messages(run, service, customer)
        audit(run.row, service, customer, receiver)


def _delete_messages(run: Run, service: Service, customer: Customer) -> None:
    workers = service.all("worker")
    for worker in workers:
        worker.freeze()
    jobs = [customer.submit() for _ in range(6)]
    keys = [
        key
        for pattern in ("restore.*", "unacked*", "_kombu*")
        for key in service.redis.scan_iter(pattern)
    ]
    if keys:
        service.redis.delete(*keys)
    since = time.time()
    for worker in workers:
        worker.thaw()
    _expect_start(run, customer, jobs, since)


def _expect_start(
    run: Run, customer: Customer, jobs: list[str], since: float | None = None
) -> None:
    run.row.injected += len(jobs)
    late = customer.wait(jobs, 3 * _START_S)
    run.row.require(not late, f"{len(late)} jobs never began")
    for job_id in jobs:
        job = customer.service.job(job_id)
        if job and job.started_at:
            waited_s = job.started_at - (since or customer.book[job_id].at)
            run.row.recovered(max(0.0, waited_s), _START_S, "a start")


@row("F6", f"every message published {_TIMES} times", "runs a job 1")
def double_doorbells(run: Run) -> None:
    with run.service() as service, Receiver() as receiver:
        service.start("api", "notifier", "worker", "worker")
        customer = run.customer(service, receiver)
        celery = make_celery(service.own, role="notifier")
        doorbell = Doorbell(celery)
        for _ in range(30):
            job_id = customer.submit(customer.order(seconds=0.25))
            for _ in range(_TIMES - 1):
                doorbell.ring(job_id, MODEL, Priority.NORMAL)
            run.row.injected += _TIMES - 1
        audit(run.row, service, customer, receiver)
        celery.close()
        runs = service.runs()
        for accepted in customer.book.values():
            extra = runs.count(accepted.order.serial) - 1
            run.row.duplicated += max(0, extra)
            run.row.require(extra == 0, f"{accepted.job_id} ran {extra + 1} times")


@row("F21", "notifiers killed in a loop, two of each at all times", "nothing counted twice")
def kill_notifiers(run: Run) -> None:
    with run.service() as service, Receiver() as receiver:
        service.start("api", "notifier", "notifier", "worker", "worker")
        customer = run.customer(service, receiver)
        restarts = Restarts(run.row, customer, 30.0)
        workers, notifiers = service.all("worker"), service.all("notifier")
        struck: dict[str, int] = {}
        for number in range(12):
            feed(customer, jobs=8, seconds=iter([1.0] * 8))
            time.sleep(run.die.uniform(0.8, 2.0))
            victim = notifiers[number % 2]
            victim.kill()
            service.again(victim)
            run.row.injected += 1
            if number % 4 == 1:  # work for the reapers, too
                worker = workers[number // 4 % 2]
                eventually(lambda worker=worker: restarts.victims(worker), 10)  # type: ignore[misc]
                victims = restarts.victims(worker)
                worker.kill()
                restarts.struck(victims)
                for job_id in victims:
                    struck[job_id] = struck.get(job_id, 0) + 1
                service.again(worker)
            restarts.look()
        audit(run.row, service, customer, receiver)
        for job_id, accepted in customer.book.items():
            allowed = 1 + struck.get(job_id, 0)
            ran = service.runs().count(accepted.order.serial)
            run.row.duplicated += max(0, ran - allowed)
            run.row.require(ran <= allowed, f"{job_id} ran {ran} times, {allowed} were needed")
