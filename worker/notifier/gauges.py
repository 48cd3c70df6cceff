"""The gauges of the whole service, which one notifier at a time exports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

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
        self._store = store
        self._leadership = store.leadership("export", lease_s)
        self._counts: Mapping[str, int] = {}
        # An emptied queue is exported as 0: a series that ends keeps its last value in many graphs.
        served = {settings.default_model, *settings.served_models}
        self._queues = {(model, str(priority)) for model in served for priority in Priority}

    def refresh(self) -> None:
        """Count again, if no other notifier exports. Raises Unavailable."""
        if not self._leadership.hold():
            return
        self._counts = self._store.counts()
        self._queues |= {_queue(name) for name in self._counts if name.startswith("queued.")}

    def close(self) -> None:
        """Let another notifier export the gauges at once. Never raises."""
        self._leadership.give_back()

    def describe(self) -> list[Metric]:
        """Return nothing: the registry then does not count at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Called by the registry for each scrape."""
        if not self._leadership.held or not self._counts:
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
