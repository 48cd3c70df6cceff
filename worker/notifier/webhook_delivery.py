"""One attempt to deliver a webhook: builds the message, sends it, and records the result."""

from __future__ import annotations

import logging
import random
import time
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

from shared.contract.batch_rendering import represent_batch
from shared.contract.rendering import represent
from shared.errors import FacemendError
from shared.jobs.job import Job, log_fields
from shared.jobs.store import JobStore
from shared.net.fetcher import Fetcher
from shared.storage.bucket import ObjectStorage
from shared.telemetry import (
    DELIVERY_SECONDS,
    DELIVERY_TRIES,
    ENDPOINTS_CHANGED,
    bind,
    current_traceparent,
    traced,
)
from shared.tenants.api_keys import KeyRing
from shared.webhooks.attempt import Attempt, send
from shared.webhooks.outbox import TEST_EVENT, AttemptResult, Delivery, DeliveryOutcome, Outbox
from shared.webhooks.schedule import next_delay_s
from shared.webhooks.signing import event_body

_logger = logging.getLogger(__name__)
_CHANGED = {
    "gone": "the endpoint says that it is gone: it is disabled",
    "failing": "the endpoint has failed for days: it is disabled",
    "enabled": "the endpoint works again",
}


class WebhookDelivery:
    """Makes attempts for deliveries from the outbox. Thread-safe."""

    def __init__(
        self,
        *,
        store: JobStore,
        outbox: Outbox,
        storage: ObjectStorage,
        keys: KeyRing,
        fetcher: Fetcher,
        timeout_s: float,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._storage = storage
        self._keys = keys
        self._fetcher = fetcher
        self._timeout_s = timeout_s

    def deliver(self, delivery: Delivery) -> None:
        """Make one attempt and record its result. Never raises.

        If the result cannot be recorded, the lease expires and the same event id is sent again.
        """
        with ExitStack() as bound:
            bound.enter_context(
                bind(
                    **log_fields(delivery.job_id, delivery.tenant, ""),
                    delivery_id=delivery.id,
                    event_id=delivery.event_id,
                    attempt=delivery.attempt,
                )
            )
            try:
                job = self._job(delivery)
                if job is not None:
                    bound.enter_context(bind(**job.log_fields))
                self._record(delivery, self._traced_attempt(delivery, job))
            except FacemendError as error:
                _logger.warning("the webhook is postponed: %s", error.detail)
            except Exception:
                _logger.exception("the webhook is postponed")

    def _job(self, delivery: Delivery) -> Job | None:
        """Return the job to show; None for an event without one. Raises Unavailable, NotFound."""
        if delivery.event == TEST_EVENT or delivery.batch:
            return None
        return delivery.job or self._store.get(delivery.tenant, delivery.job_id)

    def _traced_attempt(self, delivery: Delivery, job: Job | None) -> Attempt:
        """Make the attempt a step in the trace of the job."""
        with traced(
            f"webhook {delivery.event}",
            {"delivery_id": delivery.id, "attempt": delivery.attempt},
            parent=job.trace if job else "",
            kind="client",
        ) as span:
            attempt = self._attempt(delivery, job)
            if attempt.status_code is not None:
                span.set(status_code=attempt.status_code)
            if not attempt.delivered:
                span.fail("not delivered")
            return attempt

    def _attempt(self, delivery: Delivery, job: Job | None) -> Attempt:
        """Send the webhook. Raises Unavailable before anything is sent."""
        if delivery.disabled:
            return _unsent("The endpoint is disabled")
        secrets = self._keys.webhook_secrets(delivery.tenant)
        try:
            body = event_body(delivery.event, delivery.created_at, self._data(delivery, job))
        except FacemendError:
            raise
        except Exception:
            # A bug. It counts as an attempt, or the delivery would be retried for ever.
            _logger.exception("the webhook cannot be written")
            return _unsent("The message could not be written")
        return send(
            self._fetcher,
            url=delivery.url,
            event_id=delivery.event_id,
            body=body,
            secrets=secrets,
            timeout_s=self._timeout_s,
            traceparent=current_traceparent(),
        )

    def _data(self, delivery: Delivery, job: Job | None) -> dict[str, Any]:
        """Return the data of the event, new at each attempt: its URLs expire after some minutes."""
        if delivery.batch:
            return represent_batch(delivery.batch, self._storage).model_dump(mode="json")
        if job is None:
            return {"delivery_id": delivery.id}
        return represent(job, self._storage).model_dump(mode="json")

    def _record(self, delivery: Delivery, attempt: Attempt) -> None:
        delay_s = next_delay_s(delivery.attempt, attempt.retry_after_s, random.random)
        if delivery.disabled or delivery.event == TEST_EVENT:
            delay_s = None
        outcome = self._outbox.record_attempt(delivery, _result(attempt), attempt.record(), delay_s)
        if outcome is None:
            _logger.warning("the attempt took too long: another notifier has the delivery now")
        else:
            _report(delivery, attempt, outcome)


def _unsent(error: str) -> Attempt:
    return Attempt(time.time(), None, 0, error, sent=False)


def _result(attempt: Attempt) -> AttemptResult:
    if not attempt.sent:
        return AttemptResult.UNSENT
    if attempt.delivered:
        return AttemptResult.DELIVERED
    return AttemptResult.GONE if attempt.gone else AttemptResult.FAILED


def _report(delivery: Delivery, attempt: Attempt, outcome: DeliveryOutcome) -> None:
    state = "failed" if outcome.state == "pending" else outcome.state
    DELIVERY_TRIES.labels(delivery.event, state).inc()
    if attempt.sent:
        DELIVERY_SECONDS.labels(state).observe(attempt.latency_ms / 1000)
    details = {name: value for name, value in attempt.record().items() if name != "at"}
    _logger.info("webhook %s: %s", delivery.event, state, extra=details)
    if outcome.endpoint:
        ENDPOINTS_CHANGED.labels(outcome.endpoint).inc()
        to = urlsplit(delivery.url)
        endpoint = {"receiver": f"{to.scheme}://{to.netloc}"}
        _logger.warning(_CHANGED[outcome.endpoint], extra=endpoint)
