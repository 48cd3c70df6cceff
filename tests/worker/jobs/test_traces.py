from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.jobs.store import JobStore
from shared.settings import Settings
from shared.telemetry import configure_tracing, flush_traces, start_span, tracing
from tests.jobs import new_job
from tests.otlp_collector import OtlpCollector
from worker.engine_process.batch_metrics import DeviceBatch
from worker.jobs.traces import JobTraces


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpCollector]:
    monkeypatch.setattr(tracing, "_provider", None)
    with OtlpCollector().running() as running:
        configure_tracing(Settings(_env_file=None, otlp_endpoint=running.url), "worker")
        yield running
        tracing._provider.shutdown()


def test_a_batch_is_in_the_trace_of_each_job_and_linked_to_the_others(
    collector: OtlpCollector, store: JobStore
) -> None:
    traces, claims = JobTraces(), []
    for _ in range(2):
        request = start_span("request", kind="server")
        job = store.create(new_job(trace=request.traceparent))
        request.end()
        claims.append(store.runs.claim(job.id, "w-1"))
    first, second = (claim for claim in claims if claim)
    with traces.run(first):
        pass
    with traces.run(second):
        owners = [first.job.id, first.job.id, second.job.id, "job_of_another_worker"]
        traces.record_batch(DeviceBatch("m", 1_000.0, 0.5, [0.0] * 4, owners))
    flush_traces()
    for claim, other, faces in ((first, second, 2), (second, first, 1)):
        spans = collector.of_trace(claim.job.trace.split("-")[1])
        assert set(spans) == {"request", "queue", "run", "batch"}
        assert spans["run"].parent_id == spans["queue"].parent_id == spans["request"].span_id
        batch = spans["batch"]
        assert batch.parent_id == spans["run"].span_id
        assert (batch.seconds, batch.attributes["facemend.faces_of_job"]) == (0.5, faces)
        assert batch.attributes["facemend.faces"] == 4
        theirs = collector.of_trace(other.job.trace.split("-")[1])["run"]
        assert batch.links == (theirs.span_id,)


def test_without_tracing_a_run_has_no_trace(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "_provider", None)
    job = store.create(new_job())
    claim = store.runs.claim(job.id, "w-1")
    assert claim
    traces = JobTraces()
    with traces.run(claim) as span:
        assert span.traceparent == ""
        traces.record_batch(DeviceBatch("m", 1.0, 0.5, [0.0], [job.id]))
