"""Provenance manifests: a statement about one result, in a signed envelope.

The envelope is DSSE (https://github.com/secure-systems-lab/dsse, protocol 1.0.2): the signature
covers the bytes of the statement and its type, so no canonical form of JSON is needed.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared.errors import ManifestInvalid
from shared.provenance.signing_keys import PublicKeys, SigningKey
from shared.provenance.source_type import COMPOSITE

PAYLOAD_TYPE = "application/vnd.facemend.provenance+json"
STATEMENT_TYPE = "https://facemend.dev/provenance/v1"
_MAX_BYTES = 4_000_000
#: Fields of a face in a statement. Landmarks are not among them: they go with the job.
_FACE = ("index", "box", "status", "reason", "identity_similarity")
_IMAGE = ("sha256", "bytes", "format", "width", "height")


@dataclass(frozen=True, slots=True)
class Making:
    """How a result was made. ``result`` is that of a job's record; times are Unix seconds."""

    input_bytes: int
    input_sha256: str
    options: dict[str, Any]
    result: dict[str, Any]
    started_at: float
    finished_at: float
    job_id: str | None = None
    cached: bool = False  # the result is a copy of that of an earlier job


def write_manifest(making: Making, key: SigningKey, program: str) -> bytes:
    """Return the signed manifest as JSON. ``program``: the version of Facemend."""
    result = making.result
    changed = result["image"]["sha256"] != making.input_sha256
    statement = {
        "type": STATEMENT_TYPE,
        "job_id": making.job_id,
        "program": {"name": "facemend", "version": program},
        "cached": making.cached,
        "started_at": _time(making.started_at),
        "finished_at": _time(making.finished_at),
        "input": {"sha256": making.input_sha256, "bytes": making.input_bytes},
        "output": {name: result["image"][name] for name in _IMAGE},
        "digital_source_type": COMPOSITE if changed and _is_generated(result) else None,
        "model": result["model"],
        "background": result.get("background"),
        "options": making.options,
        "faces": [{name: face.get(name) for name in _FACE} for face in result["faces"]],
    }
    payload = json.dumps(statement, ensure_ascii=False, separators=(",", ":")).encode()
    signature = key.sign(_signed(PAYLOAD_TYPE, payload))
    envelope = {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": key.id, "sig": base64.b64encode(signature).decode()}],
    }
    return json.dumps(envelope, indent=1).encode()


def read_manifest(data: bytes, keys: PublicKeys) -> dict[str, Any]:
    """Return the statement of a manifest that one of ``keys`` has signed.

    Raises ManifestInvalid.
    """
    if len(data) > _MAX_BYTES:
        raise ManifestInvalid("the manifest is too large")
    try:
        envelope = json.loads(data)
        type_, payload = envelope["payloadType"], _decoded(envelope["payload"])
        signatures = [
            (str(each["keyid"]), _decoded(each["sig"])) for each in envelope["signatures"]
        ]
    except (ValueError, TypeError, LookupError, RecursionError):
        raise ManifestInvalid("this file is no provenance manifest") from None
    if type_ != PAYLOAD_TYPE:
        raise ManifestInvalid("this is a signed file of another kind")
    signed = _signed(type_, payload)
    if not any(keys.verify(kid, signature, signed) for kid, signature in signatures):
        known = [kid for kid, _ in signatures if kid in keys]
        why = "the signature is wrong" if known else "no known key has signed the manifest"
        raise ManifestInvalid(why)
    statement: dict[str, Any] = json.loads(payload)
    if statement.get("type") != STATEMENT_TYPE:
        raise ManifestInvalid("the statement is of a version that this program does not know")
    return statement


def _is_generated(result: dict[str, Any]) -> bool:
    """Return whether a network has drawn a part of the picture."""
    drawn = any(face["status"] == "restored" for face in result["faces"])
    return drawn or result.get("background") is not None


def _signed(type_: str, payload: bytes) -> bytes:
    """Return what the signature covers: the pre-authentication encoding of DSSE."""
    kind = type_.encode()
    return b" ".join((b"DSSEv1", b"%d" % len(kind), kind, b"%d" % len(payload), payload))


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None


def _time(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat().replace("+00:00", "Z")
