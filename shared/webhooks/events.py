"""Webhooks by the Standard Webhooks specification: what is sent, how it is signed, when again.

Pure but for ``send``, which makes one try. Who is due, and what becomes of a try, is the store's
and the notifier's business. https://github.com/standard-webhooks/standard-webhooks
"""

from __future__ import annotations

import binascii
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook, WebhookVerificationError

from shared.errors import InputError, SignatureInvalid
from shared.net.fetcher import Fetcher

#: Waits before the second, third, … tenth try; after the tenth the delivery is dead.
RETRY_SCHEDULE_S = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
JITTER = 0.2
#: A receiver may ask for more patience than the schedule has, but not for ever.
MAX_RETRY_AFTER_S = 86_400.0
MAX_ANSWER_BYTES = 16_384
GONE = 410


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a delivery. ``at`` is Unix seconds; ``status_code`` None: no answer came.

    ``sent`` False: we did not get as far as asking the receiver, so nothing here is its fault.
    """

    at: float
    status_code: int | None
    latency_ms: int
    error: str | None
    retry_after_s: float | None = None
    sent: bool = True

    @property
    def delivered(self) -> bool:
        return self.status_code is not None and 200 <= self.status_code < 300

    @property
    def gone(self) -> bool:
        """The receiver wants to hear no more of this."""
        return self.status_code == GONE

    def record(self) -> dict[str, Any]:
        """Make the line of the delivery's log."""
        return {
            "at": self.at,
            "status_code": self.status_code,
            "latency_ms": self.latency_ms,
            "error": self.error,
        }


def body(event_type: str, timestamp: float, data: Mapping[str, Any]) -> bytes:
    """Make the webhook's JSON; ``timestamp`` is when the event happened, in Unix seconds."""
    instant = datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds")
    message = {"type": event_type, "timestamp": instant.replace("+00:00", "Z"), "data": data}
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode("ascii")


def sign(secrets: Sequence[str], event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Make the three headers; one signature for each of ``secrets`` (``whsec_…``).

    While a secret is being replaced there are two, so that a receiver that knows either one is
    content. ``timestamp`` is the time of this try, in Unix seconds.
    """
    if not secrets:
        raise ValueError("a webhook needs at least one secret to be signed with")
    instant = datetime.fromtimestamp(timestamp, UTC)
    text = body.decode()
    signatures = (Webhook(secret).sign(event_id, instant, text) for secret in secrets)
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def verify(headers: Mapping[str, str], body: bytes, secret: str) -> Any:
    """Return the JSON of a received webhook once its signature has been checked.

    Raises SignatureInvalid for a wrong secret, a changed body, missing or broken headers, and for
    a timestamp more than five minutes off, which keeps old messages from being replayed.
    """
    try:
        Webhook(secret).verify(body, dict(headers), json_parse=False)
    except WebhookVerificationError as error:
        raise SignatureInvalid(str(error)) from None
    except (EmptyWebhookSecretError, binascii.Error):
        raise SignatureInvalid("The secret is not one of ours; it starts with whsec_") from None
    except ValueError:  # the library lets through what int(), split() and decode() say
        raise SignatureInvalid("The webhook's headers or body cannot be read") from None
    try:
        return json.loads(body)
    except ValueError:
        raise SignatureInvalid("The webhook's body is not JSON") from None


def next_delay_s(
    attempt: int, retry_after_s: float | None, random: Callable[[], float]
) -> float | None:
    """Return how long to wait after try number ``attempt`` (from 1) failed; None: give up.

    The schedule's wait ± 20 %, so that the deliveries of one outage do not come back all at once;
    at least ``retry_after_s``, up to a day. ``random`` gives numbers in [0, 1).
    """
    if attempt > len(RETRY_SCHEDULE_S):
        return None
    delay_s = RETRY_SCHEDULE_S[attempt - 1] * (1 - JITTER + 2 * JITTER * random())
    return max(delay_s, min(retry_after_s or 0.0, MAX_RETRY_AFTER_S))


def send(
    fetcher: Fetcher,
    *,
    url: str,
    event_id: str,
    body: bytes,
    secrets: Sequence[str],
    timeout_s: float,
) -> Attempt:
    """Try once, now. Never raises for what the receiver does: that is the attempt's ``error``."""
    at = time.time()
    started = time.monotonic()
    headers = {"Content-Type": "application/json"} | sign(secrets, event_id, int(at), body)
    status_code = retry_after_s = error = None
    try:
        answer = fetcher.post(
            url, body, headers, timeout_s=timeout_s, max_answer_bytes=MAX_ANSWER_BYTES
        )
    except InputError as problem:
        error = problem.detail
    else:
        status_code, retry_after_s = answer.status_code, answer.retry_after_s
        if not 200 <= status_code < 300:
            error = f"The receiver answered with status {status_code}"
    latency_ms = round((time.monotonic() - started) * 1000)
    return Attempt(at, status_code, latency_ms, error, retry_after_s)
