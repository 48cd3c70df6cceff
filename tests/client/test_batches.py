from __future__ import annotations

from pathlib import Path

import pytest

import facemend
from facemend import Client
from shared.storage.bucket import ObjectStorage
from tests.api.serving import Server
from tests.client.conftest import Worker


@pytest.fixture
def keys(storage: ObjectStorage, photo: Path) -> list[str]:
    """Photos in the storage of the tenant."""
    names = ["a.jpg", "b.jpg"]
    for name in names:
        storage.put(f"tenants/acme/files/{name}", photo.read_bytes(), "image/jpeg")
    return names


def test_a_batch_is_submitted_waited_for_and_erased(
    client: Client, working: Worker, keys: list[str]
) -> None:
    items: list[facemend.parameters.Item] = [{"input": {"key": key}} for key in keys]
    items.append({"input": {"key": "none.jpg"}})
    batch = client.submit_batch(items, defaults={"output": {"format": "png"}})
    assert batch.counts.total == 3
    seen: list[str] = []
    done = client.wait_batch(batch, on_progress=lambda now: seen.append(now.status))
    assert (done.status, seen[-1]) == ("completed", "completed")
    assert (done.counts.succeeded, done.counts.rejected) == (2, 1)
    first = client.list_batch_items(batch, limit=2)
    rest = client.list_batch_items(batch, limit=2, cursor=first.next_cursor)
    items_ = [*first.data, *rest.data]
    assert [item.status for item in items_] == ["succeeded", "succeeded", "rejected"]
    assert items_[2].error is not None
    assert items_[2].error.code == "input-not-found"
    assert items_[0].restoration is not None
    assert items_[0].restoration.output["format"] == "png"


def test_a_batch_is_canceled(client: Client, keys: list[str]) -> None:
    batch = client.submit_batch([{"input": {"key": key}} for key in keys])
    with pytest.raises(facemend.WaitTimeout):
        client.wait_batch(batch, timeout_s=0.1)
    client.cancel_batch(batch)
    assert client.wait_batch(batch.id).status == "canceled"


def test_the_same_key_makes_one_batch(client: Client, keys: list[str]) -> None:
    items: list[facemend.parameters.Item] = [{"input": {"key": key}} for key in keys]
    ids = {client.submit_batch(items, idempotency_key="album").id for _ in range(2)}
    assert len(ids) == 1


def test_a_token_makes_as_many_jobs_as_it_may(client: Client, api: Server, photo: Path) -> None:
    token = client.create_token(jobs=1, scopes=["restorations:write"], expires_in_s=60)
    assert (token.jobs, token.scopes) == (1, ["restorations:write"])
    with Client(api.url, token.token) as page:
        page.submit(photo)
        with pytest.raises(facemend.Forbidden):
            page.submit(photo)
