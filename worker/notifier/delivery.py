"""One webhook: from the delivery that the store hands out to the note of how the try went."""

from __future__ import annotations

import logging
import random
import time
from typing import Any
from urllib.parse import urlsplit

from shared.contract.rendering import represent
from shared.errors import FacemendError
from shared.jobs.store import Delivery, JobStore
from shared.net.fetcher import Fetcher
from shared.storage.bucket import ObjectStorage
from shared.telemetry import DELIVERY_TRIES, ENDPOINTS_CHANGED, bind
from shared.tenants.api_keys import KeyRing
from shared.webhooks import events as webhooks
from shared.webhooks.outbox import TEST_EVENT, Noted, Went

_logger = logging.getLogger(__name__)
_CHANGED = {
    "gone": "the endpoint says that it is gone: it is disabled",
    "failing": "the endpoint did nothing but fail for days: it is disabled",
    "enabled": "the endpoint is well again",
}


class Courier:
    """Thread-safe."""

    def __init__(
        self,
        *,
        store: JobStore,
        storage: ObjectStorage,
        keys: KeyRing,
        fetcher: Fetcher,
        timeout_s: float,
    ) -> None:
        self._store = store
        self._storage = storage
        self._keys = keys
        self._fetcher = fetcher
        self._timeout_s = timeout_s

    def deliver(self, delivery: Delivery) -> None:
        """Try once and write down how it went. Never raises.

        If it cannot be written down, the lease runs out and the same event id is sent again.
        """
        with bind(
            job_id=delivery.job_id,
            delivery_id=delivery.id,
            event_id=delivery.event_id,
            attempt=delivery.attempt,
        ):
            try:
                self._settle(delivery, self._try(delivery))
            except FacemendError as error:
                _logger.warning("the webhook has to wait: %s", error.detail)
            except Exception:
                _logger.exception("the webhook has to wait")

    def _try(self, delivery: Delivery) -> webhooks.Attempt:
        """Raises Unavailable or NotFound before anything is sent."""
        if delivery.disabled:
            return _unsent("The endpoint is disabled")
        secrets = self._keys.webhook_secrets(delivery.tenant)
        try:
            body = webhooks.body(delivery.event, delivery.created_at, self._data(delivery))
        except FacemendError:
            raise
        except Exception:
            # A defect of ours. It counts as a try, or it would come round for ever.
            _logger.exception("the webhook cannot be written")
            return _unsent("The message could not be written")
        return webhooks.send(
            self._fetcher,
            url=delivery.url,
            event_id=delivery.event_id,
            body=body,
            secrets=secrets,
            timeout_s=self._timeout_s,
        )

    def _data(self, delivery: Delivery) -> dict[str, Any]:
        """Make what the event tells, anew for each try: addresses in it end after some minutes."""
        if delivery.event == TEST_EVENT:
            return {"delivery_id": delivery.id}
        job = delivery.job or self._store.get(delivery.tenant, delivery.job_id)
        return represent(job, self._storage).model_dump(mode="json")

    def _settle(self, delivery: Delivery, attempt: webhooks.Attempt) -> None:
        delay_s = webhooks.next_delay_s(delivery.attempt, attempt.retry_after_s, random.random)
        if delivery.disabled or delivery.event == TEST_EVENT:
            delay_s = None
        went = _went(attempt)
        noted = self._store.outbox.note(delivery, went, attempt.record(), delay_s)
        if noted is None:
            _logger.warning("the try took too long: another sender has the webhook now")
        else:
            _tell(delivery, attempt, noted)


def _unsent(error: str) -> webhooks.Attempt:
    return webhooks.Attempt(time.time(), None, 0, error, sent=False)


def _went(attempt: webhooks.Attempt) -> Went:
    if not attempt.sent:
        return Went.UNSENT
    if attempt.delivered:
        return Went.DELIVERED
    return Went.GONE if attempt.gone else Went.FAILED


def _tell(delivery: Delivery, attempt: webhooks.Attempt, noted: Noted) -> None:
    outcome = "failed" if noted.state == "pending" else noted.state
    DELIVERY_TRIES.labels(delivery.event, outcome).inc()
    facts = {name: fact for name, fact in attempt.record().items() if name != "at"}
    _logger.info("webhook %s: %s", delivery.event, outcome, extra=facts)
    if noted.endpoint:
        ENDPOINTS_CHANGED.labels(noted.endpoint).inc()
        to = urlsplit(delivery.url)
        whose = {"tenant": delivery.tenant, "receiver": f"{to.scheme}://{to.netloc}"}
        _logger.warning(_CHANGED[noted.endpoint], extra=whose)
