"""docs/metrics.md names each metric that is exported, with its labels, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from api.server.gauges import ServerGauges
from api.slots import Slots
from shared import telemetry
from shared.jobs.store import JobStore
from shared.settings import Settings
from worker.notifier.gauges import ServiceGauges

DOC = (Path(__file__).resolve().parents[3] / "docs" / "metrics.md").read_text()
ROW = re.compile(r"(?m)^\| `(facemend_\w+)` \|(.*?)\| .+ \|$")
Documented = dict[str, set[str]]


def documented() -> Documented:
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in ROW.findall(DOC)}


def declared() -> Documented:
    """The metrics of the module, which every process exports once they have a value."""
    found: Documented = {}
    for value in vars(telemetry).values():
        if isinstance(value, MetricWrapperBase):
            suffix = "_total" if value._type == "counter" else ""
            found[value._name + suffix] = set(value._labelnames)
    return found


def collected(collector: Collector) -> Documented:
    return {
        metric.name: set().union(*(sample.labels for sample in metric.samples))
        for metric in collector.collect()
    }


def server_gauges() -> ServerGauges:
    settings = Settings(_env_file=None)
    slots = Slots(1, 1)
    threads = SimpleNamespace(running=0, waiting=0)
    services = SimpleNamespace(waiting_slots=slots, streaming_slots=slots)
    resources: Any = SimpleNamespace(
        settings=settings, services=services, threads=threads, body_bytes=slots
    )
    return ServerGauges(resources, ())


def test_each_metric_is_documented_with_its_labels_and_no_other(
    store: JobStore, settings: Settings
) -> None:
    gauges = ServiceGauges(store, settings)
    gauges.refresh()
    exported = declared() | collected(gauges) | collected(server_gauges())
    assert len(exported) > 30
    assert documented() == exported
