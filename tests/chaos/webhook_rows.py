"""Receivers that are down, drip, redirect, send bombs, are gone, or ask for a later attempt."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.chaos.audit import audit
from tests.chaos.customer import ALL_EVENTS, Customer
from tests.chaos.receiver import Receiver
from tests.chaos.rows import Run, row
from tests.chaos.service import Part, Service, eventually
from tests.jobs import make_due

_HEALTHY_S = 2.0
_TRY_S = 15.0
_MORE_MEMORY_KB = 5 * 1024
_PER_ENDPOINT = 2
_ANSWER_BYTES = 4 << 20  # of an endless answer: what kernels buffer; 16 KiB of it are read


@row("F17", "receivers down, dripping, redirecting, bombing, gone, busy", "healthy ones ≤ 2 s late")
def hostile_receivers(run: Run) -> None:
    with run.service() as service, Receiver() as healthy:
        service.start("api", "notifier", "worker")
        (notifier,) = service.all("notifier")
        customer = run.customer(service, healthy)
        customer.wait([customer.submit() for _ in range(3)])
        _bombs(run, customer, notifier)
        for case in (_down, _gone, _later, _redirect, _lost):
            with Receiver() as receiver:
                case(run, customer, receiver)
        _drip(run, customer, healthy)
        audit(run.row, service, customer, healthy)


def _send(run: Run, customer: Customer, receiver: Receiver, path: str) -> str:
    """Submit a job with a webhook to this receiver; it is not listed for the audit."""
    webhook = {"url": receiver.url(path), "events": ALL_EVENTS}
    job_id = customer.submit(customer.order(), webhook=webhook)
    customer.book.pop(job_id)
    run.row.injected += 1
    return job_id


def _delivery(service: Service, customer: Customer, job_id: str) -> dict[str, Any]:
    found = service.outbox.of_job(customer.tenant, job_id)
    return found[0] if found else {"state": "missing", "attempts": [], "next_try_at": None}


def _await_tries(customer: Customer, job_id: str, tries: int, timeout_s: float) -> dict[str, Any]:
    service = customer.service
    eventually(
        lambda: len(_delivery(service, customer, job_id)["attempts"]) >= tries, timeout_s, 0.1
    )
    return _delivery(service, customer, job_id)


def _down(run: Run, customer: Customer, receiver: Receiver) -> None:
    """The schedule is kept: 5 s, then 5 min (± 20 %); and it comes when the receiver is back."""
    job_id = _send(run, customer, receiver, "/down")
    delivery = _await_tries(customer, job_id, 2, 20)
    came = [arrival.at for arrival in receiver.arrivals("/down")]
    run.row.require(len(came) == 2, f"{len(came)} tries in the first seconds, not 2")
    if len(came) == 2:
        run.row.require(4 <= came[1] - came[0] <= 8, f"second try after {came[1] - came[0]:.1f} s")
    wait_s = (delivery["next_try_at"] or 0.0) - (came[-1] if came else 0.0)
    run.row.require(239 <= wait_s <= 362, f"the third try is due after {wait_s:.0f} s")
    receiver.good.set()
    make_due(customer.service.redis)
    run.row.require(
        eventually(lambda: len(receiver.arrivals("/down")) == 3, 5), "nothing came after the outage"
    )
    ids = {arrival.event_id for arrival in receiver.arrivals("/down")}
    run.row.require(len(ids) == 1, f"{len(ids)} event ids for one event")
    run.row.note("after the second try the schedule's five minutes are cut short by hand")


def _gone(run: Run, customer: Customer, receiver: Receiver) -> None:
    delivery = _await_tries(customer, _send(run, customer, receiver, "/gone"), 1, 10)
    run.row.require(delivery["state"] == "dead", f"after 410 it is {delivery['state']}")
    _send(run, customer, receiver, "/gone")
    time.sleep(2)
    count = len(receiver.arrivals("/gone"))
    run.row.require(count == 1, f"an endpoint that is gone was asked {count} times")


def _later(run: Run, customer: Customer, receiver: Receiver) -> None:
    receiver.retry_after_s = 8
    job_id = _send(run, customer, receiver, "/later")
    _await_tries(customer, job_id, 2, 20)
    came = [arrival.at for arrival in receiver.arrivals("/later")]
    run.row.require(len(came) == 2, f"{len(came)} tries after 429")
    if len(came) == 2:
        run.row.require(
            came[1] - came[0] >= 8, f"came again after {came[1] - came[0]:.1f} s, not 8"
        )


def _redirect(run: Run, customer: Customer, receiver: Receiver) -> None:
    for path in ("/redirect", "/astray"):
        delivery = _await_tries(customer, _send(run, customer, receiver, path), 1, 10)
        codes = [attempt["status_code"] for attempt in delivery["attempts"]]
        run.row.require(codes[:1] == [302], f"a redirect was noted as {codes}")
    heard = {arrival.path for arrival in receiver.arrivals()}
    run.row.require(heard <= {"/redirect", "/astray"}, f"a redirect was followed: {sorted(heard)}")


def _lost(run: Run, customer: Customer, receiver: Receiver) -> None:
    """The receiver has the event but its response is lost, so the same event comes again."""
    job_id = _send(run, customer, receiver, "/lost")
    eventually(lambda: receiver.arrivals("/lost"), 10)
    receiver.good.set()
    delivery = _await_tries(customer, job_id, 2, 20)
    ids = {arrival.event_id for arrival in receiver.arrivals("/lost")}
    run.row.require(delivery["state"] == "delivered", f"after a lost answer: {delivery['state']}")
    run.row.require(len(ids) == 1, f"a lost answer made {len(ids)} events")


def _bombs(run: Run, customer: Customer, notifier: Part) -> None:
    with Receiver() as receiver:
        before_kb = _memory_kb(notifier)
        for path in ("/huge", "/bomb", "/huge", "/bomb"):
            delivery = _await_tries(customer, _send(run, customer, receiver, path), 1, 20)
            run.row.require(delivery["state"] == "delivered", f"{path}: {delivery['state']}")
        grown_kb = _memory_kb(notifier) - before_kb
        run.row.note(f"notifier's memory after four huge answers: {grown_kb / 1024:+.1f} MB")
        run.row.require(grown_kb <= _MORE_MEMORY_KB, f"the notifier grew by {grown_kb} KB")
        run.row.require(receiver.sent_bytes <= 2 * _ANSWER_BYTES, f"{receiver.sent_bytes} B taken")


def _drip(run: Run, customer: Customer, healthy: Receiver) -> None:
    """An attempt ends at its time limit; healthy receivers are not delayed."""
    with Receiver() as receiver:
        slow = [_send(run, customer, receiver, "/drip") for _ in range(6)]
        eventually(lambda: receiver.at_once, 10)
        for _ in range(10):
            job_id = customer.submit()
            customer.wait([job_id], 20)
            ended = customer.service.job(job_id)
            eventually(lambda job_id=job_id: job_id in healthy.by_job(), 10)  # type: ignore[misc]
            heard = healthy.by_job().get(job_id)
            if heard and ended and ended.finished_at:
                late_s = max(0.0, heard[0].at - ended.finished_at)
                run.row.recovered(late_s, _HEALTHY_S, "a healthy receiver's webhook")
            else:
                run.row.breach("a healthy receiver heard nothing")
        eventually(lambda: _lengths_s(customer, slow), _TRY_S + 5, 0.1)
        took = _lengths_s(customer, slow)
        run.row.require(took and max(took) <= _TRY_S + 1, f"dripping tries took {took}")
        most = receiver.most_at_once
        run.row.require(most <= _PER_ENDPOINT, f"{most} connections to one endpoint")


def _lengths_s(customer: Customer, jobs: list[str]) -> list[float]:
    """Return the attempts for these jobs; their order is not defined."""
    found = [_delivery(customer.service, customer, job_id) for job_id in jobs]
    return [attempt["latency_ms"] / 1000 for delivery in found for attempt in delivery["attempts"]]


def _memory_kb(part: Part) -> int:
    status = Path(f"/proc/{part.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])
