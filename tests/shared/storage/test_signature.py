"""The signature of a PUT is the one that botocore computes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from shared.storage.signature import sign_put


@pytest.mark.parametrize("token", [None, "of-a-role"])
@pytest.mark.parametrize("day", [3, 4])
def test_a_put_is_signed_as_botocore_signs_it(token: str | None, day: int) -> None:
    credentials = Credentials("AKIAEXAMPLE", "secret/key", token).get_frozen_credentials()
    headers = {"host": "s3.example.com:8333", "content-type": "text/plain", "if-none-match": "*"}
    path, at = "/bucket/a%20b/%C3%BC~.json", datetime(2026, 2, day, 4, 5, 6, tzinfo=UTC)
    ours = sign_put(
        path, b"content", headers, credentials=credentials, region="eu-central-1", at=at
    )
    names = "content-type;host;if-none-match;x-amz-content-sha256;x-amz-date"
    assert (
        f"SignedHeaders={names}{';x-amz-security-token' if token else ''}, "
        in (ours["authorization"])
    )
    signer = S3SigV4Auth(credentials, "s3", "eu-central-1")
    unsigned = {name: value for name, value in ours.items() if name != "authorization"}
    request = AWSRequest("PUT", f"https://s3.example.com:8333{path}", unsigned, b"content")
    request.context["timestamp"] = f"2026020{day}T040506Z"
    text = signer.string_to_sign(request, signer.canonical_request(request))
    assert ours["authorization"].endswith(f"Signature={signer.signature(text, request)}")
