"""The gauges of the whole service, which one notifier at a time exports."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.errors import Unavailable
from shared.jobs.job import Priority
from shared.jobs.store import JobStore
from shared.settings import Settings

#: Another notifier exports the gauges so long after the last refresh of the one that did.
EXPORT_LEASE_S = 15.0


class ServiceGauges(Collector):
    """Counts of the store, as of the last ``refresh``.

    They belong to the service and not to a process. Of several notifiers, one holds a lease in
    Redis and exports them; the others export nothing, and neither do API and workers. So a sum over
    all targets is right. Without Redis there are no counts, so nothing is exported.
    """

    def __init__(
        self, store: JobStore, settings: Settings, lease_s: float = EXPORT_LEASE_S
    ) -> None:
        self._store, self._lease_s = store, lease_s
        self._holder = secrets.token_hex(8)
        self._counts: Mapping[str, int] = {}
        self._valid_until_s = 0.0
        # An emptied queue is exported as 0: a series that ends keeps its last value in many graphs.
        served = {settings.default_model, *settings.served_models}
        self._queues = {(model, str(priority)) for model in served for priority in Priority}

    def refresh(self) -> None:
        """Count again, if no other notifier exports. Raises Unavailable."""
        valid_until_s = time.monotonic() + self._lease_s  # before the lease ends in Redis
        if not self._store.hold_export(self._holder, self._lease_s):
            self._valid_until_s = 0.0
            return
        self._counts = self._store.counts()
        self._queues |= {_queue(name) for name in self._counts if name.startswith("queued.")}
        self._valid_until_s = valid_until_s

    def close(self) -> None:
        """Let another notifier export the gauges at once. Never raises."""
        self._valid_until_s = 0.0
        try:
            self._store.hold_export(self._holder, 0)
        except Unavailable:
            return  # the lease ends by itself

    def describe(self) -> list[Metric]:
        """Return nothing: the registry then does not count at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Called by the registry for each scrape."""
        if time.monotonic() >= self._valid_until_s:
            return
        counts = self._counts
        queued = GaugeMetricFamily(
            "facemend_jobs_queued", "Jobs in the queue.", labels=["model", "priority"]
        )
        for model, priority in sorted(self._queues):
            queued.add_metric([model, priority], counts.get(f"queued.{model}.{priority}", 0))
        yield queued
        yield GaugeMetricFamily("facemend_jobs_running", "Jobs under a lease.", counts["running"])
        yield GaugeMetricFamily(
            "facemend_deliveries_pending",
            "Webhooks not delivered yet.",
            counts["deliveries_pending"],
        )


def _queue(name: str) -> tuple[str, str]:
    """Return model and priority of ``queued.<model>.<priority>``; a model's name may have dots."""
    model, _, priority = name.removeprefix("queued.").rpartition(".")
    return model, priority
