from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from shared.errors import ManifestInvalid
from shared.provenance.signing_keys import PublicKeys, SigningKey
from shared.provenance.source_type import COMPOSITE
from shared.provenance.statement import Making, read_manifest, write_manifest

KEY, OTHER = SigningKey(b"1" * 32), SigningKey(b"2" * 32)
KEYS = PublicKeys([KEY.public])
FACE = {
    "index": 0,
    "box": [1, 2, 3, 4],
    "landmarks": [[1, 2]] * 5,
    "score": 0.9,
    "status": "restored",
    "reason": None,
    "identity_similarity": None,
}


def making(status: str = "restored", sha256: str = "b" * 64, **result: Any) -> Making:
    image = {"key": "k", "sha256": sha256, "bytes": 9, "format": "png", "width": 4, "height": 3}
    return Making(
        input_bytes=7,
        input_sha256="a" * 64,
        options={"strength": 1.0},
        result={
            "image": image,
            "model": {"name": "m", "sha256": "c" * 64, "precision": "fp32", "backend": "torch"},
            "faces": [FACE | {"status": status}],
            **result,
        },
        started_at=0.0,
        finished_at=1.5,
        job_id="job_1",
    )


def test_a_manifest_says_how_the_result_was_made() -> None:
    statement = read_manifest(write_manifest(making(), KEY, "0.1"), KEYS)
    assert statement["input"] == {"sha256": "a" * 64, "bytes": 7}
    assert statement["output"]["sha256"] == "b" * 64
    assert (statement["model"]["name"], statement["options"]) == ("m", {"strength": 1.0})
    assert statement["finished_at"] == "1970-01-01T00:00:01.500000Z"
    assert statement["digital_source_type"] == COMPOSITE


def test_a_manifest_has_neither_landmarks_nor_object_keys() -> None:
    statement = read_manifest(write_manifest(making(), KEY, "0.1"), KEYS)
    assert "landmarks" not in statement["faces"][0]
    assert "key" not in statement["output"]


@pytest.mark.parametrize(
    ("made", "generated"),
    [
        (making("skipped"), False),
        (making("skipped", background={"scale": 2}), True),
        (making("restored", sha256="a" * 64), False),
    ],
)
def test_only_a_picture_that_a_network_has_drawn_counts_as_generated(
    made: Making, generated: bool
) -> None:
    statement = read_manifest(write_manifest(made, KEY, "0.1"), KEYS)
    assert (statement["digital_source_type"] is not None) == generated


def test_a_changed_statement_is_refused() -> None:
    envelope = json.loads(write_manifest(making(), KEY, "0.1"))
    payload = base64.b64decode(envelope["payload"]).replace(b"restored", b"skipped!")
    envelope["payload"] = base64.b64encode(payload).decode()
    with pytest.raises(ManifestInvalid, match="signature is wrong"):
        read_manifest(json.dumps(envelope).encode(), KEYS)


def test_a_manifest_of_an_unknown_key_is_refused() -> None:
    with pytest.raises(ManifestInvalid, match="no known key"):
        read_manifest(write_manifest(making(), OTHER, "0.1"), KEYS)


def test_a_signature_of_another_type_of_payload_does_not_count() -> None:
    envelope = json.loads(write_manifest(making(), KEY, "0.1"))
    envelope["payloadType"] = "text/plain"
    with pytest.raises(ManifestInvalid):
        read_manifest(json.dumps(envelope).encode(), KEYS)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"1",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"payloadType": 1, "payload": 2, "signatures": 3}',
        b'{"payloadType": "a", "payload": "*", "signatures": []}',
        b" " * 4_000_001,
    ],
)
def test_what_is_no_manifest_is_refused_in_words(data: bytes) -> None:
    with pytest.raises(ManifestInvalid):
        read_manifest(data, KEYS)
