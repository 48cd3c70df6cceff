"""The messages that the service sends, for the OpenAPI document: webhooks and callbacks.

The names are those of Standard Webhooks (https://github.com/standard-webhooks/standard-webhooks).
"""

from __future__ import annotations

from typing import Any

from shared.batches.batch import COMPLETED_EVENT
from shared.jobs.job import Event
from shared.webhooks.outbox import TEST_EVENT

_SUMMARIES: dict[str, str] = {
    Event.STARTED: "A job has started for the first time",
    Event.SUCCEEDED: "A job has succeeded",
    Event.FAILED: "A job has failed",
    Event.CANCELED: "A job was canceled",
    COMPLETED_EVENT: "All jobs of a batch have ended",
    TEST_EVENT: "A test, which POST /v1/webhooks/test sends",
}
_HEADERS = {
    "webhook-id": "The id of the event. It is the same in each attempt: ignore repetitions.",
    "webhook-timestamp": "When this attempt was made, in Unix seconds.",
    "webhook-signature": "`v1,` and the Base64 of HMAC-SHA256 over `id.timestamp.body`; while the "
    "secret is being replaced, two of them with a space between.",
}
_RESPONSES = {
    "2XX": {"description": "The event was received."},
    "410": {"description": "The endpoint is gone: it is disabled, and nothing more is sent."},
    "default": {"description": "The event is sent again later, up to ten times."},
}
_JOB_EVENTS = [str(event) for event in Event]


def webhooks() -> dict[str, Any]:
    """Return the field ``webhooks`` of the document: one entry for each type of event."""
    return {event: {"post": _message([event], _SUMMARIES[event])} for event in _SUMMARIES}


def add_callbacks(paths: dict[str, Any]) -> None:
    """Say at the routes that take ``webhook.url`` what is sent there."""
    batch_events: list[str] = [COMPLETED_EVENT]
    for path, name, events in (
        ("/v1/restorations", "job", _JOB_EVENTS),
        ("/v1/batches", "batch", batch_events),
    ):
        message = {"post": _message(events, f"An event of the {name}")}
        paths[path]["post"]["callbacks"] = {name: {"{$request.body#/webhook/url}": message}}


def _message(events: list[str], summary: str) -> dict[str, Any]:
    data: dict[str, Any] = {"$ref": "#/components/schemas/Restoration"}
    if events == [COMPLETED_EVENT]:
        data = {"$ref": "#/components/schemas/Batch"}
    elif events == [TEST_EVENT]:
        data = {"type": "object", "properties": {"delivery_id": {"type": "string"}}}
    return {
        "summary": summary,
        "security": [],
        "parameters": [
            {
                "name": name,
                "in": "header",
                "required": True,
                "description": text,
                "schema": {"type": "string"},
            }
            for name, text in _HEADERS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["type", "timestamp", "data"],
                        "properties": {
                            "type": {"type": "string", "enum": events},
                            "timestamp": {"type": "string", "format": "date-time"},
                            "data": data,
                        },
                    }
                }
            },
        },
        "responses": _RESPONSES,
    }
