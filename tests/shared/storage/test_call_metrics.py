from __future__ import annotations

import pytest
from prometheus_client import REGISTRY

from shared.errors import InputNotFound, Unavailable
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"facemend_s3_{name}", labels) or 0.0


@pytest.mark.parametrize("size", [1, 100_000], ids=["fast-put", "boto3"])
def test_calls_are_timed_by_operation(storage: ObjectStorage, size: int) -> None:
    before = {name: sample("seconds_count", operation=name) for name in ("PutObject", "GetObject")}
    storage.put("object", b"x" * size, "text/plain")
    storage.get("object", max_bytes=200_000)
    # Not exactly one more each: a call that is made again on a slow machine counts again.
    assert sample("seconds_count", operation="PutObject") > before["PutObject"]
    assert sample("seconds_count", operation="GetObject") > before["GetObject"]


def test_a_missing_object_is_no_failure(storage: ObjectStorage) -> None:
    before = [sample("errors_total", kind=kind) for kind in ("refused", "server-error")]
    with pytest.raises(InputNotFound):
        storage.head("missing")
    assert before == [sample("errors_total", kind=kind) for kind in ("refused", "server-error")]


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"s3_endpoint_url": "http://127.0.0.1:9"}, "no-response"),
        ({"s3_secret_access_key": "wrong"}, "refused"),
    ],
)
def test_a_call_that_fails_counts_by_kind(
    settings: Settings, change: dict[str, str], kind: str
) -> None:
    before = sample("errors_total", kind=kind)
    with pytest.raises(Unavailable):
        ObjectStorage(Settings(_env_file=None, **(settings.model_dump() | change))).ping()
    assert sample("errors_total", kind=kind) > before
