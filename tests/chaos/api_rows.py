"""The API killed before its response; overload and floods; cancel and erase at every stage."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from benchmarks.service.attackers import KINDS
from benchmarks.service.slow_clients import FREED_S, MAX_P95_MS, Target, ask, clients_of, run_attack
from shared.jobs.job import Job, Stage, Status
from shared.storage.keys import job_prefixes
from tests.chaos.audit import audit
from tests.chaos.customer import Customer
from tests.chaos.photos import Order
from tests.chaos.proxy import Weather
from tests.chaos.receiver import Receiver
from tests.chaos.rows import Run, row
from tests.chaos.service import TENANT, Part, Service, eventually

_KILLS = 50
_START_S = 5.0
_PATIENCE_S = 240.0  # each kill may block the key of a request for a minute
_OVERLOAD_S = 60.0
_REFUSED_S = 0.1
_FLOOD = 1000
_SWEEP_S = 5.0
_ERASED_S = 30.0


@row("F16", f"API killed between create and answer, {_KILLS} times", "a key 1 job; start ≤ 5 s",
     limit_s=400)  # fmt: skip
def kill_api(run: Run) -> None:
    with run.service() as service, Receiver() as receiver:
        service.start("api", "api", "api", "notifier", "worker")
        customer = run.customer(service, receiver)
        orders = [customer.order() for _ in range(_KILLS)]
        with ThreadPoolExecutor(_KILLS) as pool:
            patient = []
            for number, order in enumerate(orders):
                api = service.all("api")[number % 3]
                service.wait_ready(api)
                customer.url = api.url
                _kill_during_request(run, customer, api, order)
                service.again(api)
                if number % 2:  # got no response, and repeats the request with the same key
                    patient.append(pool.submit(customer.submit, order, patience_s=_PATIENCE_S))
            for api in service.all("api"):
                service.wait_ready(api)
        for answer in patient:
            answer.result()
        answered = set(customer.book)
        _adopt(customer, orders)
        audit(run.row, service, customer, receiver)
        _judge_starts(run, service, customer, answered)


def _kill_during_request(run: Run, customer: Customer, api: Part, order: Order) -> None:
    """Kill the API: half of the time as soon as the record exists, half at any moment."""
    asking = threading.Thread(
        target=customer.post, args=[order], kwargs={"key": f"photo-{order.serial}"}
    )
    with api.redis.bad(Weather(latency_s=0.02)):  # more time between the steps
        asking.start()
        if run.die.random() < 0.5:
            eventually(lambda: _is_made(customer, order), 2, pause_s=0.002)
        else:
            time.sleep(run.die.uniform(0.0, 0.2))
        api.kill()
    asking.join()
    run.row.injected += 1


def _is_made(customer: Customer, order: Order) -> bool:
    jobs, _ = customer.service.store.page(TENANT, limit=5)
    digest = customer.digest(order)
    return any(job.request["input"]["sha256"] == digest for job in jobs)


def _adopt(customer: Customer, orders: list[Order]) -> None:
    """Add the jobs of requests that were never repeated to the customer's list."""
    by_hash = {customer.digest(order): order for order in orders}
    for job in _all_jobs(customer.service):
        order = by_hash[job.request["input"]["sha256"]]
        customer.adopt(job, order)


def _all_jobs(service: Service) -> Iterator[Job]:
    cursor = None
    while True:
        jobs, cursor = service.store.page(TENANT, limit=100, cursor=cursor)
        yield from jobs
        if cursor is None:
            return


def _judge_starts(run: Run, service: Service, customer: Customer, answered: set[str]) -> None:
    """Without an answer, a job may be one of a manifest alone, found when that is 120 s old."""
    made = Counter(accepted.order.serial for accepted in customer.book.values())
    twice = sum(count - 1 for count in made.values())
    run.row.duplicated += twice
    run.row.require(not twice, f"{twice} keys made two jobs")
    for job_id in answered:
        job = service.job(job_id)
        if job and job.started_at:
            run.row.recovered(job.started_at - job.created_at, _START_S, "a start")
    run.row.note(f"{len(made)} of {_KILLS} requests had made a job, {customer.replayed} replayed")


@row("F20a", f"10-fold overload for {_OVERLOAD_S:g} s", "refused p95 ≤ 100 ms, with Retry-After",
     alone=True, limit_s=240)  # fmt: skip
def overload(run: Run) -> None:
    with run.service(jobs_in_flight=2, max_queued_per_tenant=40) as service, Receiver() as receiver:
        service.start("api", "notifier", "worker")
        customer = run.customer(service, receiver)
        give_up = time.monotonic() + _OVERLOAD_S
        rate = 10 * 4.0  # the worker does four a second: two in parallel, half a second each

        def customer_of_many(number: int) -> None:
            due = time.monotonic() + number / rate
            while due < give_up:
                time.sleep(max(0.0, due - time.monotonic()))
                order = customer.order(seconds=0.5)
                customer.post(order, key=f"photo-{order.serial}")
                due += 8 / rate

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(customer_of_many, range(8)))
        refused = [answer for answer in customer.answers if answer.status in {429, 503}]
        run.row.injected = len(customer.answers)
        run.row.require(len(refused) > len(customer.answers) / 2, "that was no overload")
        p95_s = statistics.quantiles([answer.seconds for answer in refused] or [0, 0], n=20)[-1]
        slowest = max((answer.seconds for answer in refused), default=0.0)
        run.row.require(p95_s <= _REFUSED_S, f"refusals took {p95_s * 1000:.0f} ms (p95)")
        run.row.note(
            f"{len(customer.answers)} requests, {len(refused)} refused: p95 {p95_s * 1000:.0f} ms,"
            f" slowest {slowest * 1000:.0f} ms"
        )
        audit(run.row, service, customer, receiver, timeout_s=90)


@row("F20b", f"one tenant floods: {_FLOOD} jobs against 5", "small tenant's p95 ≤ twice alone",
     limit_s=240)  # fmt: skip
def flood(run: Run) -> None:
    with run.service() as service:
        service.start("api", "notifier", "worker")
        big, small = run.customer(service), run.customer(service, tenant="small")
        spans: dict[str, float] = {}
        spans["alone"] = _slowest_of_five(small)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: big.submit(big.order(seconds=0.5)), range(_FLOOD)))
        run.row.injected = _FLOOD
        waiting = service.store.counts()["queued"]
        spans["flood"] = _slowest_of_five(small)
        run.row.note(
            f"slowest of 5: {spans['alone']:.1f} s alone, {spans['flood']:.1f} s"
            f" with {waiting} jobs of another tenant in the queue"
        )
        run.row.require(waiting > _FLOOD / 2, "that was no flood")
        run.row.require(
            spans["flood"] <= 2 * spans["alone"], "the small tenant waits for the large one"
        )
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(partial(_cancel_quietly, big), big.open_jobs()))
        audit(run.row, service, small)


def _cancel_quietly(customer: Customer, job_id: str) -> None:
    customer.send("POST", f"/v1/restorations/{job_id}/cancel")


def _slowest_of_five(customer: Customer) -> float:
    """Return the time of the slowest of five jobs, which is their p95."""
    jobs = [customer.submit(customer.order(seconds=0.5)) for _ in range(5)]
    customer.wait(jobs, 90)
    found = [customer.service.job(job_id, customer.tenant) for job_id in jobs]
    return max(
        job.finished_at - job.created_at if job and job.finished_at else 90.0 for job in found
    )


@row("F22", "cancel and erase at every step", "objects after erase and sweep 0")
def cancel_and_erase(run: Run) -> None:
    with run.service(sweep_s=_SWEEP_S) as service, Receiver() as receiver:
        service.start("api", "notifier", "worker")
        (worker,) = service.all("worker")
        customer = run.customer(service, receiver)
        slow = Weather(latency_s=1.0)
        erased: list[str] = []
        for stage in (None, Stage.FETCHING, Stage.RESTORING, Stage.PUBLISHING):
            for act in (_cancel, _erase):
                with _at(worker, slow, queued=stage is None):
                    job_id = customer.submit(customer.order(seconds=1.5))
                    if stage is not None and not _reaches(service, job_id, stage):
                        run.row.breach(f"no job was seen {stage}")
                    act(run, customer, job_id)
                    run.row.injected += 1
                erased += [job_id] if act is _erase else []
        done = customer.submit()
        customer.wait([done])
        _erase(run, customer, done)
        again = customer.send("POST", f"/v1/restorations/{customer.submit()}/cancel")
        run.row.require(again and again.status_code in {202, 409}, "cancel has no answer")
        for job_id in [*erased, done]:
            customer.book.pop(job_id)
            _assert_no_trace(run, service, customer, job_id)
        codes = frozenset({"canceled", "succeeded"})
        any_end = {accepted.order.serial: codes for accepted in customer.book.values()}
        audit(run.row, service, customer, receiver, expected=any_end)


@contextmanager
def _at(worker: Part, weather: Weather, *, queued: bool) -> Iterator[None]:
    """Slow down the stage to be interrupted; if ``queued``, keep the job from starting."""
    if queued:
        worker.freeze()
    with worker.s3.bad(weather):
        try:
            yield
        finally:
            if queued:
                worker.thaw()


def _reaches(service: Service, job_id: str, stage: Stage) -> bool:
    def there() -> bool:
        job = service.job(job_id)
        return bool(job and job.progress and job.progress.stage is stage)

    return eventually(there, 20, pause_s=0.005)


def _cancel(run: Run, customer: Customer, job_id: str) -> None:
    answer = customer.send("POST", f"/v1/restorations/{job_id}/cancel")
    if answer is None or answer.status_code != 202:
        run.row.breach(f"cancel was answered {answer and answer.status_code}")
        return
    customer.wait([job_id], 20)
    job = customer.service.job(job_id)
    run.row.require(job and job.status is Status.CANCELED, f"it became {job and job.status}")


def _erase(run: Run, customer: Customer, job_id: str) -> None:
    answer = customer.send("DELETE", f"/v1/restorations/{job_id}")
    run.row.require(
        answer and answer.status_code == 204, f"erase was answered {answer and answer.status_code}"
    )
    later = customer.send("GET", f"/v1/restorations/{job_id}")
    run.row.require(later and later.status_code == 404, "an erased job can still be seen")


def _assert_no_trace(run: Run, service: Service, customer: Customer, job_id: str) -> None:
    def objects() -> list[str]:
        prefixes = job_prefixes(customer.tenant, job_id)
        return [stored.key for prefix in prefixes for stored in service.storage.list(prefix)]

    started = time.monotonic()
    eventually(lambda: not objects(), _ERASED_S, pause_s=0.5)
    run.row.recovered(time.monotonic() - started, _ERASED_S, "erasing objects")
    run.row.require(not objects(), f"left after an erase: {objects()[:2]}")
    run.row.require(service.job(job_id) is None, "an erased job came back")


@row("F25", "slow clients, 300 of each kind; 500 event streams",
     f"others' p95 ≤ {MAX_P95_MS:g} ms, none fails; freed in {FREED_S:g} s",
     alone=True, limit_s=600)  # fmt: skip
def slow_clients(run: Run) -> None:
    """No worker runs, so jobs stay queued and streams stay open."""
    with run.service() as service:
        (api,) = service.start("api")
        customers = run.customer(service), run.customer(service, tenant="slow")
        client, attacker = ((one.secret, one.submit()) for one in customers)
        target = Target(api.pid, int(api.url.rpartition(":")[2]), client, attacker)
        asyncio.run(ask(target.port, *target.client, 2))  # connects to Redis, imports, …
        quiet_ms = asyncio.run(ask(target.port, *target.client, 10)).percentile_ms(0.95)
        # A machine that is busy with something else is slow without an attack, too.
        bound_ms = max(MAX_P95_MS, 10 * quiet_ms)
        worst_ms = 0.0
        for kind in KINDS:
            found = run_attack(target, kind)
            run.row.injected += clients_of(kind)
            p95_ms = found.asked.percentile_ms(0.95)
            worst_ms = max(worst_ms, p95_ms)
            run.row.require(p95_ms <= bound_ms, f"{kind}: others wait {p95_ms:.0f} ms (p95)")
            run.row.require(not found.asked.failed, f"{kind}: {found.asked.failed} others failed")
            run.row.require(found.freed_s is not None, f"{kind}: connections are not freed")
            if found.freed_s and "event streams" not in kind:  # those last as long as their clients
                run.row.recovered(found.freed_s, FREED_S, f"{kind}: freeing connections")
        run.row.note(f"p95 of other clients at most {worst_ms:.0f} ms, {quiet_ms:.0f} ms without")
