"""The gauges of the whole service, which one notifier at a time exports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.jobs.job import Priority
from shared.jobs.pools import DEFAULT_POOL, ModelInPool
from shared.jobs.queues import QueueName
from shared.jobs.store import JobStore, ServiceLoad
from shared.jobs.workers import LiveWorker
from shared.settings import Settings

#: Another notifier exports the gauges so long after the last refresh of the one that did.
EXPORT_LEASE_S = 15.0


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the store said at the last refresh."""

    counts: Mapping[str, int]
    load: ServiceLoad
    workers: list[LiveWorker]


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
        self._read: _Reading | None = None
        # An emptied queue is exported as 0: a series that ends keeps its last value in many graphs.
        self._models = {
            ModelInPool(model, pool)
            for model in (settings.default_model, *settings.served_models)
            for pool in settings.model_pools.get(model, (DEFAULT_POOL,))
        }
        self._queues = {
            QueueName(model.model, rank, model.pool) for model in self._models for rank in Priority
        }

    def refresh(self) -> None:
        """Count again, if no other notifier exports. Raises Unavailable."""
        if not self._leadership.hold():
            return
        read = _Reading(self._store.counts(), self._store.load(), self._store.workers.live())
        self._queues |= read.load.oldest_s.keys()
        self._models |= {name.served for name in self._queues} | read.load.running_s.keys()
        self._models |= {model for worker in read.workers for model in worker.served}
        self._read = read

    def close(self) -> None:
        """Let another notifier export the gauges at once. Never raises."""
        self._leadership.give_back()

    def describe(self) -> list[Metric]:
        """Return nothing: the registry then does not count at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Called by the registry for each scrape."""
        read = self._read
        if read is None or not self._leadership.held:
            return
        yield from self._queue_gauges(read)
        yield from self._work_gauges(read.load)
        yield from self._worker_gauges(read.workers)
        yield GaugeMetricFamily(
            "facemend_jobs_running", "Jobs under a lease.", read.counts["running"]
        )
        yield GaugeMetricFamily(
            "facemend_deliveries_pending",
            "Webhooks not delivered yet.",
            read.counts["deliveries_pending"],
        )
        yield GaugeMetricFamily(
            "facemend_delivery_late_seconds",
            "How late the first webhook is that is due and was not sent.",
            read.load.webhook_late_s,
        )

    def _queue_gauges(self, read: _Reading) -> Iterator[Metric]:
        queued = GaugeMetricFamily(
            "facemend_jobs_queued", "Jobs in the queue.", labels=["model", "pool", "priority"]
        )
        oldest = GaugeMetricFamily(
            "facemend_queue_oldest_seconds",
            "How long the first job of the queue has waited since it could start.",
            labels=["model", "pool", "priority"],
        )
        for name in sorted(self._queues, key=lambda name: name.order):
            labels = [name.model, name.pool, str(name.priority)]
            queued.add_metric(labels, read.counts.get(f"queued.{name}", 0))
            oldest.add_metric(labels, read.load.oldest_s.get(name, 0))
        yield from (queued, oldest)

    def _work_gauges(self, load: ServiceLoad) -> Iterator[Metric]:
        work = GaugeMetricFamily(
            "facemend_face_seconds",
            "Time that one device needs for the faces of the jobs, by their state.",
            labels=["model", "pool", "state"],
        )
        for model in sorted(self._models):
            of = [model.model, model.pool]
            work.add_metric([*of, "waiting"], load.waiting_s.get(model, 0))
            work.add_metric([*of, "running"], load.running_s.get(model, 0))
        yield work

    def _worker_gauges(self, workers: list[LiveWorker]) -> Iterator[Metric]:
        serving = Counter(model for worker in workers for model in worker.served)
        live = GaugeMetricFamily("facemend_workers", "Live workers.", labels=["model", "pool"])
        for model in sorted(self._models):
            live.add_metric([model.model, model.pool], serving[model])
        places = GaugeMetricFamily(
            "facemend_worker_places", "Places for jobs on live workers.", labels=["kind", "pool"]
        )
        in_use = GaugeMetricFamily(
            "facemend_worker_places_in_use", "Places that jobs have.", labels=["kind", "pool"]
        )
        for pool in sorted({model.pool for model in self._models}):
            states = [it.state for it in workers if it.state and it.pool == pool]
            places.add_metric(["device", pool], sum(state.places for state in states))
            places.add_metric(["fetch", pool], sum(state.fetches for state in states))
            in_use.add_metric(["device", pool], sum(state.places_in_use for state in states))
            in_use.add_metric(["fetch", pool], sum(state.fetches_in_use for state in states))
        yield from (live, places, in_use)
