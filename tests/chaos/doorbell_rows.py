"""Messages lost and doubled, and notifiers killed that should repair this."""

from __future__ import annotations

import json
import re
import time

import httpx

from deploy.embedded.child_process import free_port
from shared.jobs.job import Priority
from shared.jobs.queues import QueueName
from shared.queue.celery_queue import RESTORE_TASK, Doorbell, make_celery
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
        frozen, _ = service.all("worker")
        for _ in range(3):
            time.sleep(0.5)  # let the worker wait in BRPOP
            frozen.freeze()
            jobs = [customer.submit() for _ in range(6)]
            time.sleep(0.3)
            frozen.kill()
            _expect_start(run, customer, jobs)
            service.again(frozen)
            service.wait_ready(frozen)
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
                doorbell.ring(job_id, QueueName(MODEL, Priority.NORMAL))
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
            if number % 4 == 1:  # so that the reapers also have work
                worker = workers[number // 4 % 2]
                eventually(lambda worker=worker: restarts.victims(worker), 10)  # type: ignore[misc]
                worker.kill()
                victims = restarts.victims(worker)  # of the dead worker: none is missing
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


#: What no sender of ours writes: not JSON, not a message, and too deep for a parser.
_MALFORMED = (b"", b"hello", b"\xff\xfe", b"null", b"[]", b"7", b"{}", b"[" * 100_000)
_FOREIGN_ROUNDS = 5


@row("F27", "foreign and malformed messages in the queues; a broadcast of shutdown",
     "workers ended 0; each message counted")  # fmt: skip
def send_foreign_messages(run: Run) -> None:
    with run.service() as service, Receiver() as receiver:
        service.start("api", "notifier")
        ports = [free_port() for _ in range(2)]
        workers = [service.launch("worker", metrics_port=port) for port in ports]
        for worker in workers:
            service.wait_ready(worker)
        before = [worker.pid for worker in workers]
        customer = run.customer(service, receiver)
        for _ in range(_FOREIGN_ROUNDS):
            _send_foreign(run, service)
            customer.submit()
        run.row.injected = 2 * _FOREIGN_ROUNDS * (len(_MALFORMED) + len(_foreign(service)))
        all_counted = eventually(lambda: _discarded(ports) == run.row.injected, 30)
        run.row.require(all_counted, f"{_discarded(ports):g} messages were counted")
        audit(run.row, service, customer, receiver)
        ended = [worker for worker in workers if not worker.child.running]
        run.row.lost += len(ended)
        run.row.require(not ended, f"{len(ended)} workers ended")
        run.row.require([worker.pid for worker in workers] == before, "a worker was started again")


def _send_foreign(run: Run, service: Service) -> None:
    celery = make_celery(service.own, role="notifier")
    for priority in (Priority.HIGH, Priority.NORMAL):
        messages = [*_MALFORMED, *_foreign(service)]
        run.die.shuffle(messages)
        service.redis.lpush(QueueName(MODEL, priority).doorbells, *messages)
    celery.control.broadcast("shutdown")
    celery.close()


def _foreign(service: Service) -> list[bytes]:
    """Return messages of Celery that are no doorbells."""
    celery = make_celery(service.own, role="notifier")
    message = json.loads(Doorbell(celery).message("job_1", QueueName(MODEL, Priority.NORMAL)))
    celery.close()
    headers = message["headers"]
    changed = [
        message | {"headers": headers | {"task": "celery.backend_cleanup"}},
        message | {"headers": headers | {"task": "os.system"}},
        message | {"headers": headers | {"task": [RESTORE_TASK]}},
        message | {"headers": headers | {"eta": "tomorrow"}},
        message | {"headers": None},
        message | {"properties": None},
        message | {"content-type": "application/x-python-serialize", "body": "gASVAA=="},
        message | {"body": "e30="},  # {}
        message | {"body": "W1sxLCAyXSwge30sIHt9XQ=="},  # two arguments: a later version
    ]
    return [json.dumps(each).encode() for each in changed]


def _discarded(ports: list[int]) -> float:
    texts = [httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text for port in ports]
    pattern = re.compile(r"^facemend_messages_discarded_total\{.*\} (\S+)$", re.MULTILINE)
    return sum(float(value) for text in texts for value in pattern.findall(text))
