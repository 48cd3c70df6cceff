"""Verify webhooks by the Standard Webhooks specification.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from facemend.errors import SignatureInvalid
from facemend.models import Batch, Restoration

_TOLERANCE_S = 300
_PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """A verified message.

    ``id`` is the same for each attempt to deliver the event: use it to ignore repeats. ``job`` is
    the job of a ``restoration.…`` event and ``batch`` the batch of ``batch.completed``, else None.
    ``data`` is the message's data as it came.
    """

    id: str
    type: str
    timestamp: datetime
    data: dict[str, Any]
    job: Restoration | None
    batch: Batch | None = None


def verify_webhook(
    headers: Mapping[str, str], body: bytes | str, secret: str | Sequence[str]
) -> WebhookEvent:
    """Check the signature of a webhook and return its event.

    ``body`` is the body as it arrived, not parsed and written again. ``secret`` is ``whsec_…``, or
    several of them while one is replaced. Names of ``headers`` may have any case. Raises
    SignatureInvalid for a wrong secret, a changed body, missing or broken headers, and a timestamp
    more than five minutes off, which prevents the replay of old messages.
    """
    found = {name.lower(): value for name, value in headers.items()}
    try:
        event_id, sent_at = found["webhook-id"], found["webhook-timestamp"]
        given = found["webhook-signature"]
    except KeyError as missing:
        raise SignatureInvalid(f"the header {missing.args[0]} is missing") from None
    content = body.encode() if isinstance(body, str) else body
    _check_time(sent_at)
    secrets = [secret] if isinstance(secret, str) else secret
    signed = f"{event_id}.{sent_at}.".encode("utf-8", "surrogateescape") + content
    expected = [_signature(each, signed) for each in secrets]
    signatures = [part[3:] for part in given.split() if part.startswith("v1,")]
    if not any(_equal(one, other) for one in expected for other in signatures):
        raise SignatureInvalid("no signature fits the secret: another sender, or a changed body")
    return _event(event_id, content)


def _check_time(sent_at: str) -> None:
    if not (sent_at.isascii() and sent_at.isdigit()):
        raise SignatureInvalid("the header webhook-timestamp is no number")
    if abs(time.time() - int(sent_at)) > _TOLERANCE_S:
        raise SignatureInvalid("the message is more than five minutes old, or a clock is wrong")


def _signature(secret: str, signed: bytes) -> str:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise SignatureInvalid("the secret is not valid; it starts with whsec_")
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode("utf-8", "surrogateescape"))


def _event(event_id: str, content: bytes) -> WebhookEvent:
    try:
        message = json.loads(content)
        kind, data = str(message["type"]), dict(message["data"])
        timestamp = datetime.fromisoformat(message["timestamp"])
        what = data.get("object")
        job = Restoration.model_validate(data) if what == "restoration" else None
        batch = Batch.model_validate(data) if what == "batch" else None
    except (ValueError, TypeError, KeyError):
        raise SignatureInvalid("the body is signed, but it is no message of Facemend") from None
    return WebhookEvent(event_id, kind, timestamp, data, job, batch)
