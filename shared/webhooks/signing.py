"""Webhook messages by the Standard Webhooks specification: body, signature, verification.

https://github.com/standard-webhooks/standard-webhooks
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook, WebhookVerificationError

from shared.errors import SignatureInvalid


def event_body(event_type: str, timestamp: float, data: Mapping[str, Any]) -> bytes:
    """Return the JSON body; ``timestamp`` is when the event happened, in Unix seconds."""
    instant = datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds")
    message = {"type": event_type, "timestamp": instant.replace("+00:00", "Z"), "data": data}
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode("ascii")


def sign(secrets: Sequence[str], event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers, with one signature for each of ``secrets`` (``whsec_…``).

    While a secret is being replaced there are two signatures, and a receiver may know either
    secret. ``timestamp`` is the time of this attempt, in Unix seconds.
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
    """Check the signature of a received webhook and return its JSON.

    Raises SignatureInvalid for a wrong secret, a changed body, missing or broken headers, and for
    a timestamp more than five minutes off, which prevents replays of old messages.
    """
    try:
        Webhook(secret).verify(body, dict(headers), json_parse=False)
    except WebhookVerificationError as error:
        raise SignatureInvalid(str(error)) from None
    except (EmptyWebhookSecretError, binascii.Error):
        raise SignatureInvalid("The secret is not valid; it starts with whsec_") from None
    except ValueError:  # the library does not catch the errors of int(), split() and decode()
        raise SignatureInvalid("The webhook's headers or body cannot be read") from None
    try:
        return json.loads(body)
    except ValueError:
        raise SignatureInvalid("The webhook's body is not JSON") from None
