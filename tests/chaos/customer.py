"""A customer as they should be: retries with its Idempotency-Key, keeps a book, checks answers."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import httpx

from shared.jobs.job import Job, Status
from tests.chaos.photos import Act, Order, photo
from tests.chaos.service import TENANT, Service, eventually

_RETRY_PAUSE_S = 0.1
_PATIENT_S = 3.0
ALL_EVENTS = ["restoration.succeeded", "restoration.failed", "restoration.canceled"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A promise of the service: it said 202 to this at ``at`` (Unix seconds)."""

    job_id: str
    order: Order
    at: float
    hook: bool


@dataclass
class Answer:
    status: int
    seconds: float
    code: str


@dataclass
class Customer:
    """Thread-safe. ``url`` may be changed to another API of the same service."""

    service: Service
    url: str
    hook: str | None = None
    tenant: str = TENANT
    book: dict[str, Accepted] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)  # answers that break the contract
    replayed: int = 0

    def __post_init__(self) -> None:
        _, self.secret = self.service.keys.create(self.tenant, "chaos")
        self._serials = itertools.count(self.service.seed % 1000 * 10_000 + 1)
        self._lock = Lock()
        self._closed: set[str] = set()
        headers = {"Authorization": f"Bearer {self.secret}"}
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=64)
        self.http = httpx.Client(headers=headers, timeout=20, trust_env=False, limits=limits)

    def order(self, act: Act = Act.SLEEP, seconds: float = 0.0, *, once: bool = False) -> Order:
        """An order with a serial number that nobody else has."""
        with self._lock:
            return Order(next(self._serials), act, seconds, once)

    def submit(
        self,
        order: Order | None = None,
        *,
        key: str | None = None,
        patience_s: float = 30.0,
        **request: Any,
    ) -> str:
        """Hand in a photo, again and again until it is accepted; the job's id.

        Raises TimeoutError when nobody accepted it for ``patience_s``.
        """
        order = order or self.order()
        key = key or f"photo-{order.serial}"
        give_up = time.monotonic() + patience_s
        while time.monotonic() < give_up:
            answer = self.post(order, key=key, **request)
            if answer is not None and answer.status_code == 202:
                return str(answer.json()["id"])
            time.sleep(_pause_s(answer))
        raise TimeoutError(f"not accepted in {patience_s:g} s")

    def post(
        self, order: Order, *, key: str | None = None, **request: Any
    ) -> httpx.Response | None:
        """Hand in a photo once; what is accepted goes into the book. None: no answer came."""
        if self.hook and "webhook" not in request:
            request["webhook"] = {"url": self.hook, "events": ALL_EVENTS}
        files: dict[str, Any] = {"image": ("photo.png", photo(order), "image/png")}
        request.setdefault("output", {"format": "png"})
        files["request"] = (None, json.dumps(request), "application/json")
        headers = {"Idempotency-Key": key} if key else {}
        answer = self.send("POST", "/v1/restorations", files=files, headers=headers)
        if answer is not None and answer.status_code == 202:
            job_id = answer.json()["id"]
            self.replayed += answer.headers.get("Idempotent-Replayed") == "true"
            taken = Accepted(job_id, order, time.time(), "webhook" in request)
            self.book.setdefault(job_id, taken)
        return answer

    def send(self, method: str, path: str, **kwargs: Any) -> httpx.Response | None:
        """One request; None: no answer came. Each answer is held against the contract."""
        started = time.monotonic()
        try:
            answer = self.http.request(method, f"{self.url}{path}", **kwargs)
        except httpx.HTTPError:
            return None
        self._check(answer, time.monotonic() - started)
        return answer

    def adopt(self, job: Job, order: Order) -> None:
        """Put a job into the book whose answer never arrived."""
        self.book.setdefault(job.id, Accepted(job.id, order, job.created_at, bool(self.hook)))

    def digest(self, order: Order) -> str:
        """The hash by which a job names the photo of this order."""
        return hashlib.sha256(photo(order)).hexdigest()

    def open_jobs(self) -> dict[str, Job]:
        """Jobs in the book that have not ended, as they are now."""
        found = {}
        for job_id in self.book.keys() - self._closed:
            job = self.service.job(job_id, self.tenant)
            if job is None or job.status.terminal:
                self._closed.add(job_id)
            else:
                found[job_id] = job
        return found

    def wait(self, job_ids: Iterable[str] | None = None, timeout_s: float = 60.0) -> list[str]:
        """Wait until these jobs (default: all) have ended; the ids of those that have not."""
        left = set(self.book if job_ids is None else job_ids)

        def done() -> bool:
            left.difference_update([job_id for job_id in left if self._ended(job_id)])
            return not left

        eventually(done, timeout_s, pause_s=0.05)
        return sorted(left)

    def wait_for(self, job_id: str, status: Status, timeout_s: float = 30.0) -> bool:
        """Wait until the job is in that state."""

        def is_there() -> bool:
            job = self.service.job(job_id, self.tenant)
            return job is not None and job.status is status

        return eventually(is_there, timeout_s)

    def _ended(self, job_id: str) -> bool:
        job = self.service.job(job_id, self.tenant)
        return job is None or job.status.terminal

    def _check(self, answer: httpx.Response, seconds: float) -> None:
        code = ""
        if answer.status_code >= 400:
            kind = answer.headers.get("content-type", "")
            if not kind.startswith("application/problem+json"):
                self.odd.append(f"{answer.status_code} as {kind or 'nothing'}")
            else:
                code = str(answer.json().get("code"))
            if answer.status_code in {400, 422, 500}:
                self.odd.append(f"{answer.status_code} {code}")
            if answer.status_code in {429, 503} and "retry-after" not in answer.headers:
                self.odd.append(f"{answer.status_code} without Retry-After")
        self.answers.append(Answer(answer.status_code, seconds, code))


def _pause_s(answer: httpx.Response | None) -> float:
    """As long as the answer asks for, within reason."""
    asked = answer.headers.get("Retry-After") if answer is not None else None
    return min(float(asked), _PATIENT_S) if asked else _RETRY_PAUSE_S
