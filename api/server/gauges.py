"""The gauges of the HTTP server: threads, requests, connections and bodies at this moment."""

from __future__ import annotations

from collections.abc import Iterator, Sized

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.server.resources import Resources


class ServerGauges(Collector):
    """Reads the server at each scrape."""

    def __init__(self, resources: Resources, connections: Sized) -> None:
        self._resources, self._connections = resources, connections

    def describe(self) -> list[Metric]:
        """Return nothing: the registry then does not read the server at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Called by the registry for each scrape."""
        resources = self._resources
        services = resources.services
        for name, text, value in (
            ("threads", "Threads that run requests.", resources.settings.api_threads),
            ("threads_in_use", "Threads that run a request now.", resources.threads.running),
            ("requests_waiting", "Requests that wait for a thread.", resources.threads.waiting),
            ("connections", "Open connections of clients.", len(self._connections)),
            ("long_polls", "Requests that wait for a job.", services.waiting_slots.taken),
            ("event_streams", "Event streams.", services.streaming_slots.taken),
            ("upload_bytes", "Bytes of bodies that are arriving.", resources.body_bytes.taken),
        ):
            yield GaugeMetricFamily(f"facemend_api_{name}", text, value)
