from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from shared.errors import CorruptImage, SettingsInvalid
from shared.settings import Settings
from shared.telemetry import (
    configure_tracing,
    current_traceparent,
    flush_traces,
    start_span,
    traced,
    tracing,
)
from tests.otlp_collector import OtlpCollector, ReceivedSpan

CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpCollector]:
    """A collector to which this process sends its traces."""
    monkeypatch.setattr(tracing, "_provider", None)
    with OtlpCollector().running() as running:
        configure_tracing(Settings(_env_file=None, otlp_endpoint=running.url), "test")
        yield running
        tracing._provider.shutdown()


def received(collector: OtlpCollector) -> dict[str, ReceivedSpan]:
    flush_traces()
    return {span.name: span for span in collector.spans}


def test_without_an_endpoint_nothing_happens_and_opentelemetry_is_not_imported() -> None:
    code = (
        "import sys\n"
        "from shared.settings import Settings\n"
        "from shared.telemetry import configure_tracing, current_traceparent, traced\n"
        "configure_tracing(Settings(_env_file=None), 'api')\n"
        "with traced('step') as span:\n"
        "    assert (span.traceparent, current_traceparent()) == ('', '')\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_steps_form_one_trace_that_continues_that_of_the_client(collector: OtlpCollector) -> None:
    with traced("request", {"route": "/v1"}, parent=CLIENT, kind="server") as request:
        with traced("inner"):
            pass
        saved = current_traceparent()
    assert saved == request.traceparent
    start_span("later", parent=saved, began_at=1_000.0).end(1_002.5)  # in another process
    spans = received(collector)
    assert {span.trace_id for span in spans.values()} == {CLIENT.split("-")[1]}
    assert spans["request"].parent_id == CLIENT.split("-")[2]
    assert spans["inner"].parent_id == spans["later"].parent_id == spans["request"].span_id
    assert spans["later"].seconds == 2.5
    assert spans["request"].attributes == {"facemend.route": "/v1"}
    assert spans["request"].process == "facemend-test"


def test_an_error_marks_its_step_by_its_code_and_without_its_text(collector: OtlpCollector) -> None:
    with pytest.raises(CorruptImage), traced("decode"):
        raise CorruptImage("secret words of a customer")
    with pytest.raises(ValueError, match="x"), traced("other"):
        raise ValueError("x")
    spans = received(collector)
    assert spans["decode"].failed == "corrupt-image"
    assert spans["other"].failed == "ValueError"
    assert b"secret words" not in b"".join(collector.bodies)


def test_a_step_has_links_to_others_and_broken_ones_are_left_out(collector: OtlpCollector) -> None:
    start_span("batch", links=[CLIENT, "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"]).end()
    assert received(collector)["batch"].links == (CLIENT.split("-")[2],)


@pytest.mark.parametrize("parent", ["", "nonsense", CLIENT + "-more"])
def test_a_broken_parent_begins_a_new_trace(collector: OtlpCollector, parent: str) -> None:
    start_span("step", parent=parent).end()
    step = received(collector)["step"]
    assert step.parent_id == ""
    assert step.trace_id != CLIENT.split("-")[1]


def test_a_share_of_zero_traces_nothing_but_what_a_client_traces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracing, "_provider", None)
    with OtlpCollector().running() as collector:
        settings = Settings(_env_file=None, otlp_endpoint=collector.url, trace_share=0)
        configure_tracing(settings, "test")
        start_span("ours").end()
        start_span("of the client", parent=CLIENT).end()
        assert set(received(collector)) == {"of the client"}
        tracing._provider.shutdown()


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsInvalid, match=r"pip install 'facemend\[otel\]'"):
        configure_tracing(Settings(_env_file=None, otlp_endpoint="http://127.0.0.1:9"), "test")
