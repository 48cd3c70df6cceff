"""One webhook: from the delivery that the store hands out to the note of how the try went."""

from __future__ import annotations

import logging
import random
import time

from shared import webhooks
from shared.errors import FacemendError
from shared.fetch import Fetcher
from shared.keys import KeyRing
from shared.representation import represent
from shared.storage import ObjectStorage
from shared.store import Delivery, JobStore
from shared.telemetry import DELIVERY_TRIES, bind

_logger = logging.getLogger(__name__)


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
        with bind(job_id=delivery.job_id, event_id=delivery.event_id, attempt=delivery.attempt):
            try:
                self._settle(delivery, self._try(delivery))
            except FacemendError as error:
                _logger.warning("the webhook has to wait: %s", error.detail)
            except Exception:
                _logger.exception("the webhook has to wait")

    def _try(self, delivery: Delivery) -> webhooks.Attempt:
        """Raises Unavailable or NotFound before anything is sent."""
        secrets = self._keys.webhook_secrets(delivery.tenant)
        try:
            job = self._store.get(delivery.tenant, delivery.job_id)
            # Made anew for each try: the addresses in it end after some minutes.
            data = represent(job, self._storage).model_dump(mode="json")
            body = webhooks.body(delivery.event, delivery.created_at, data)
        except FacemendError:
            raise
        except Exception:
            # A defect of ours. It counts as a try, or it would come round for ever.
            _logger.exception("the webhook cannot be written")
            return webhooks.Attempt(time.time(), None, 0, "The message could not be written")
        return webhooks.send(
            self._fetcher,
            url=delivery.url,
            event_id=delivery.event_id,
            body=body,
            secrets=secrets,
            timeout_s=self._timeout_s,
        )

    def _settle(self, delivery: Delivery, attempt: webhooks.Attempt) -> None:
        record = attempt.record()
        delay_s = webhooks.next_delay_s(delivery.attempt, attempt.retry_after_s, random.random)
        if attempt.delivered:
            outcome = "delivered"
            self._store.delivered(delivery, record)
        elif attempt.gone or delay_s is None:
            outcome = "dead"
            self._store.bury_delivery(delivery, record)
        else:
            outcome = "failed"
            self._store.retry_delivery(delivery, record, delay_s)
        DELIVERY_TRIES.labels(delivery.event, outcome).inc()
        _logger.info("webhook %s: %s", delivery.event, outcome, extra=record)
