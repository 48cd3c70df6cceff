"""What must hold after every row: nothing lost, twice or wrong, and no secret in a log."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping

from shared.jobs.job import Job, Status
from tests.chaos.customer import Accepted, Customer
from tests.chaos.photos import is_result, photo
from tests.chaos.receiver import Receiver
from tests.chaos.report import Row
from tests.chaos.service import Service, eventually

#: What may become of a photo: its serial, and the error codes that are right for it. Photos that
#: are not named have to succeed.
Expected = Mapping[int, frozenset[str]]
_SIGNATURE = re.compile(r"X-Amz-Signature=[0-9a-f]{64}")
_HEARD_S = 60.0  # a delivery whose sender could not note how it went comes again after 45 s


def audit(
    row: Row,
    service: Service,
    customer: Customer,
    receiver: Receiver | None = None,
    *,
    expected: Expected | None = None,
    timeout_s: float = 60.0,
) -> None:
    """Wait for the end of all accepted jobs and count what the service did wrong into ``row``."""
    late = customer.wait(timeout_s=timeout_s)
    for job_id in late:
        row.lost += 1
        job = service.job(job_id, customer.tenant)
        row.breach(f"{job_id} is still {job and job.status} (attempt {job and job.attempt})")
    for accepted in customer.book.values():
        if accepted.job_id not in late:
            _judge(row, service, customer, accepted, (expected or {}).get(accepted.order.serial))
    if receiver is not None:
        _hear(row, customer, receiver)
    _count(row, service, customer.tenant)
    for what in sorted(set(customer.odd)):
        row.breach(f"the API answered {what}")
    _search(row, service, customer)


def _judge(
    row: Row,
    service: Service,
    customer: Customer,
    accepted: Accepted,
    codes: frozenset[str] | None,
) -> None:
    job = service.job(accepted.job_id, customer.tenant)
    if job is None:
        row.lost += 1
        row.breach(f"{accepted.job_id} is gone")
        return
    became = job.error["code"] if job.error else str(job.status)
    if became not in (codes or {Status.SUCCEEDED}):
        row.lost += 1
        row.breach(f"{accepted.job_id} became {became} (attempt {job.attempt})")
    elif job.status is Status.SUCCEEDED and not _is_right(service, job, accepted):
        row.breach(f"{accepted.job_id} has a wrong result")


def _is_right(service: Service, job: Job, accepted: Accepted) -> bool:
    image = (job.result or {})["image"]
    return is_result(service.storage.get(image["key"], max_bytes=image["bytes"]), accepted.order)


def _hear(row: Row, customer: Customer, receiver: Receiver) -> None:
    """One event a job, however often it was said; said at least once."""
    wanted = {accepted.job_id for accepted in customer.book.values() if accepted.hook}
    eventually(lambda: wanted <= receiver.by_job().keys(), _HEARD_S, pause_s=0.1)
    heard = receiver.by_job()
    for job_id in sorted(wanted):
        events = {arrival.event_id for arrival in heard.get(job_id, [])}
        if not events:
            row.lost += 1
            row.breach(f"nobody was told how {job_id} ended")
        elif len(events) > 1:
            row.duplicated += len(events) - 1
            row.breach(f"{job_id} ended {len(events)} times, by the events")


def _count(row: Row, service: Service, tenant: str) -> None:
    """The indexes agree with the records: nothing waits, nothing runs, no place is taken."""

    def left() -> dict[str, int]:
        counts = service.store.counts()
        found = {name: counts.get(name, 0) for name in ("queued", "running")}
        found["tenant's places"] = int(service.redis.zcard(f"fm:tenant:{tenant}:queued"))  # type: ignore[arg-type]
        return {name: count for name, count in found.items() if count}

    if not row.lost and not eventually(lambda: not left(), 5, pause_s=0.1):
        row.breach(f"all jobs have ended, but the indexes hold {left()}")


def _search(row: Row, service: Service, customer: Customer) -> None:
    """Secrets and pictures in logs, which are written at DEBUG."""
    webhook = service.keys.webhook_secrets(customer.tenant)
    known = service.secrets(customer.secret, *webhook)
    for accepted in list(customer.book.values())[:5]:
        known.append(base64.b64encode(photo(accepted.order)[60:150]).decode()[:60])
    for name, text in service.logs():
        found = sum(secret in text for secret in known)
        if found or _SIGNATURE.search(text):
            row.breach(f"the log of {name} holds a secret")
