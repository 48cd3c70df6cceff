"""Traces by OpenTelemetry: one trace follows a job from its HTTP request to its webhook.

Off unless ``settings.otlp_endpoint`` is set; then every function here does nothing, and
OpenTelemetry is not even imported. A span carries no URL, no API key and nothing of a photo. The
context of a trace travels as ``traceparent`` (W3C Trace Context,
https://www.w3.org/TR/trace-context/): in HTTP headers, in the record of a job, and in webhooks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, Literal

from shared.errors import FacemendError, SettingsInvalid
from shared.program_version import program_version
from shared.settings import Settings

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Attribute = str | int | float | bool
Attributes = Mapping[str, Attribute]
NO_ATTRIBUTES: Attributes = MappingProxyType({})
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", re.ASCII)
_EXPORT_TIMEOUT_S = 5.0

_provider: Any = None  # one for the process, as logging is


class Span:
    """One step of a trace. Without tracing it does nothing."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        """The context for what follows this step; empty without tracing."""
        if self._span is None:
            return ""
        context = self._span.get_span_context()
        flags = int(context.trace_flags)
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}"

    def set(self, **attributes: Attribute) -> None:
        """Add attributes; ``facemend.`` is put before each name."""
        if self._span is not None:
            self._span.set_attributes(_prefixed(attributes))

    def fail(self, reason: str) -> None:
        """Mark the step as failed, for a reason without data of the request."""
        if self._span is not None:
            from opentelemetry.trace import StatusCode  # noqa: PLC0415  # of the extra

            self._span.set_status(StatusCode.ERROR, reason)

    def end(self, at: float | None = None) -> None:
        """End the step, now or ``at`` a time in Unix seconds."""
        if self._span is not None:
            self._span.end(None if at is None else _nanoseconds(at))


_current: ContextVar[Span | None] = ContextVar("span", default=None)


def configure_tracing(settings: Settings, process: str) -> None:
    """Send the spans of this process to ``settings.otlp_endpoint``; do nothing without one.

    Raises SettingsInvalid if the package is missing.
    """
    global _provider  # noqa: PLW0603
    if settings.otlp_endpoint is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415
    except ImportError:
        raise SettingsInvalid(
            "FACEMEND_OTLP_ENDPOINT needs OpenTelemetry: pip install 'facemend[otel]'"
        ) from None
    about = {"service.name": f"facemend-{process}", "service.version": program_version()}
    provider = TracerProvider(
        resource=Resource.create(about),
        sampler=ParentBasedTraceIdRatio(settings.trace_share),
    )
    endpoint = settings.otlp_endpoint.rstrip("/") + "/v1/traces"
    exporter = OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_TIMEOUT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _provider = provider


def flush_traces() -> None:
    """Send the spans that wait. Call it before the process ends; it takes 5 s at most."""
    if _provider is not None:
        _provider.force_flush(int(1000 * _EXPORT_TIMEOUT_S))


def start_span(
    name: str,
    attributes: Attributes = NO_ATTRIBUTES,
    *,
    parent: str = "",
    kind: Kind = "internal",
    began_at: float | None = None,
    links: Sequence[str] = (),
) -> Span:
    """Begin a step, at ``began_at`` (Unix seconds) or now. The caller ends it.

    ``facemend.`` is put before the names of attributes.
    ``parent`` and ``links`` are values of ``traceparent``; without a parent the current step is
    the parent. An invalid one counts as none.
    """
    if _provider is None:
        return Span()
    from opentelemetry.trace import Link, SpanKind  # noqa: PLC0415  # of the extra

    current = _current.get()
    linked = [context for link in links if (context := _span_context(link)) is not None]
    return Span(
        _provider.get_tracer("facemend").start_span(
            name,
            context=_context(parent or (current.traceparent if current else "")),
            kind=SpanKind[kind.upper()],
            links=[Link(context) for context in linked],
            start_time=None if began_at is None else _nanoseconds(began_at),
            attributes=_prefixed(attributes),
        )
    )


@contextmanager
def current_span(span: Span) -> Iterator[Span]:
    """Make a step the current one of the block. Does not end it."""
    token = _current.set(span)
    try:
        yield span
    finally:
        _current.reset(token)


@contextmanager
def traced(
    name: str,
    attributes: Attributes = NO_ATTRIBUTES,
    *,
    parent: str = "",
    kind: Kind = "internal",
) -> Iterator[Span]:
    """Make the block a step. An error marks it as failed, by its kind and without its text."""
    span = start_span(name, attributes, parent=parent, kind=kind)
    try:
        with current_span(span):
            yield span
    except FacemendError as error:
        span.fail(error.code)
        raise
    except Exception as error:
        span.fail(type(error).__name__)
        raise
    finally:
        span.end()


def current_traceparent() -> str:
    """Return the ``traceparent`` of the current step; empty without tracing."""
    span = _current.get()
    return span.traceparent if span else ""


def _context(traceparent: str) -> Any:
    from opentelemetry.context import Context  # noqa: PLC0415  # of the extra
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context  # noqa: PLC0415

    span_context = _span_context(traceparent)
    if span_context is None:
        return Context()
    return set_span_in_context(NonRecordingSpan(span_context), Context())


def _span_context(traceparent: str) -> Any:
    """Return the context that a ``traceparent`` names, or None if it is not valid."""
    from opentelemetry.trace import SpanContext, TraceFlags  # noqa: PLC0415  # of the extra

    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in match.groups())
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return context if context.is_valid else None


def _prefixed(attributes: Attributes) -> dict[str, Attribute]:
    return {f"facemend.{name}": value for name, value in attributes.items()}


def _nanoseconds(at: float) -> int:
    return int(at * 1e9)
