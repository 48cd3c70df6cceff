"""One trace from the HTTP request to the webhook, through all real processes."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from deploy.embedded.webhook_receiver import WebhookReceiver
from tests.otlp_collector import OtlpCollector
from tests.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def blurred(photo: Path) -> bytes:
    """A sharp face is left as it is, without a batch."""
    file = io.BytesIO()
    with Image.open(photo) as image:
        image.convert("RGB").resize((96, 96)).resize((384, 384)).save(file, "PNG")
    return file.getvalue()


def test_one_trace_goes_from_the_request_through_queue_and_batch_to_the_webhook(
    client: httpx.Client,
    finish: Callable[..., dict[str, Any]],
    astronaut: Path,
    collector: OtlpCollector,
) -> None:
    with WebhookReceiver() as receiver:
        response = client.post(
            "/v1/restorations",
            headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"},
            files={"image": ("a.png", blurred(astronaut))},
            data={"request": f'{{"webhook": {{"url": "{receiver.url}"}}}}'},
        )
        assert response.status_code == 202, response.text
        assert finish(response.json()["id"])["status"] == "succeeded"
        received = receiver.wait(60)
    eventually(lambda: "webhook restoration.succeeded" in collector.of_trace(TRACE))
    eventually(lambda: {"run", "POST /v1/restorations"} <= set(collector.of_trace(TRACE)))
    spans = collector.of_trace(TRACE)
    request, run = spans["POST /v1/restorations"], spans["run"]
    assert (request.process, request.parent_id) == ("facemend-api", "00f067aa0ba902b7")
    assert (run.process, run.parent_id) == ("facemend-worker", request.span_id)
    for name in ("fetch", "decode", "restore", "batch", "publish"):
        assert spans[name].parent_id == run.span_id, name
        assert spans[name].failed is None
    assert spans["queue"].parent_id == request.span_id
    assert spans["restore"].attributes["facemend.detect_ms"] > 0
    webhook = spans["webhook restoration.succeeded"]
    assert (webhook.process, webhook.parent_id) == ("facemend-notifier", request.span_id)
    assert received
    assert received.headers["traceparent"] == f"00-{TRACE}-{webhook.span_id}-01"
