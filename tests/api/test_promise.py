"""What is answered 202 is promised in the object storage first, and only that."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from api import Services, create_app
from shared.errors import Unavailable
from shared.settings import Settings
from shared.storage import MANIFESTS, ObjectStorage, StoredObject, manifest_key
from shared.store import JobStore
from tests.api.conftest import Authorised, CheckedClient


class Forgetful(ObjectStorage):
    """Takes photos, but no manifests."""

    def put(
        self, key: str, data: bytes, content_type: str, *, if_absent: bool = False
    ) -> StoredObject:
        if key.startswith(MANIFESTS):
            raise Unavailable("no")
        return super().put(key, data, content_type, if_absent=if_absent)


def promises(storage: ObjectStorage) -> list[str]:
    return [stored.key for stored in storage.list(MANIFESTS)]


def with_other(services: Services, client: Authorised, **changes: Any) -> Authorised:
    """The same caller at an API with other services."""
    app = create_app(dataclasses.replace(services, **changes))
    app.test_client_class = CheckedClient
    return Authorised(app.test_client(), client.secret)


def test_an_accepted_job_is_promised(client: Any, submit: Any, storage: ObjectStorage) -> None:
    job_id = submit(client).get_json()["id"]
    assert promises(storage) == [manifest_key("acme", job_id, 1)]


def test_what_cannot_be_promised_is_not_accepted(
    client: Any,
    submit: Any,
    services: Services,
    settings: Settings,
    store: JobStore,
) -> None:
    lame = with_other(services, client, storage=Forgetful(settings))
    again = {"headers": {"Idempotency-Key": "one"}}
    assert submit(lame, **again).status_code == 503
    assert store.list("acme")[0] == []
    assert submit(client, **again).status_code == 202
    assert len(store.list("acme")[0]) == 1


def test_what_is_refused_leaves_no_promise(
    client: Any, submit: Any, services: Services, storage: ObjectStorage, redis: Any
) -> None:
    submit(client)
    settings = services.settings.model_copy(update={"max_queued_per_tenant": 1})
    full = with_other(services, client, store=JobStore(redis, settings), settings=settings)
    before = [stored.key for stored in storage.list("")]
    assert submit(full).get_json()["code"] == "queue-full"
    assert [stored.key for stored in storage.list("")] == before


def test_a_job_that_is_cancelled_at_once_is_no_longer_promised(
    client: Any, submit: Any, storage: ObjectStorage
) -> None:
    client.post(f"{submit(client).headers['Location']}/cancel")
    assert promises(storage) == []


def test_a_job_that_still_runs_stays_promised_although_it_is_asked_to_stop(
    client: Any, submit: Any, storage: ObjectStorage, store: JobStore
) -> None:
    job_id = submit(client).get_json()["id"]
    store.claim(job_id, "worker-1")
    client.post(f"/v1/restorations/{job_id}/cancel")
    assert promises(storage) == [manifest_key("acme", job_id, 1)]


@pytest.mark.parametrize("times", [1, 2])
def test_each_retry_is_a_promise_of_its_own(
    client: Any, submit: Any, storage: ObjectStorage, times: int
) -> None:
    path = submit(client).headers["Location"]
    for _ in range(times):
        client.post(f"{path}/cancel")
        client.post(f"{path}/retry")
    job_id = path.rpartition("/")[2]
    assert promises(storage) == [manifest_key("acme", job_id, 1 + times)]


def test_an_erased_job_is_no_longer_promised(
    client: Any, submit: Any, storage: ObjectStorage
) -> None:
    path = submit(client).headers["Location"]
    client.post(f"{path}/cancel")
    client.post(f"{path}/retry")
    client.open(path, method="DELETE")
    assert promises(storage) == []
