"""A worker claims only jobs for which it has a place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from shared.jobs.job import Status
from shared.jobs.record import NewJob
from shared.jobs.runs import Places
from shared.jobs.store import JobStore
from shared.net.fetcher import host_of

NewJobs = Callable[..., NewJob]
Put = Callable[..., str]
CREDIT = 16  # turns that a newcomer may be behind the others


@pytest.fixture
def put(store: JobStore, new_job: NewJobs) -> Put:
    """Queue a job of a tenant, whose photo is at ``url`` or in the storage; return its id."""

    def put(tenant: str = "acme", url: str | None = None) -> str:
        source = {"url": url} if url else {"key": "tenants/x/inputs/y", "etag": "e"}
        return store.create(new_job(tenant=tenant, source=source, webhook=None)).id

    return put


def claimed(store: JobStore, doorbell: str, places: Places) -> str | None:
    claim = store.runs.claim(doorbell, "w", places)
    return claim and claim.job.id


def test_without_a_fetch_place_the_next_stored_photo_is_claimed(store: JobStore, put: Put) -> None:
    remote = [put(url="https://photos.example/1") for _ in range(3)]
    stored = put()
    assert claimed(store, remote[0], Places(urls=False)) == stored
    assert claimed(store, remote[0], Places(urls=False)) is None
    assert all(store.get("acme", job).status is Status.QUEUED for job in remote)
    assert claimed(store, remote[0], Places()) == remote[0]


def test_a_fetch_place_is_only_for_a_photo_at_a_url(store: JobStore, put: Put) -> None:
    stored, remote = put(), put(url="https://photos.example/1")
    assert claimed(store, stored, Places(stored=False)) == remote
    assert claimed(store, stored, Places(stored=False)) is None


def test_a_tenant_with_enough_fetches_is_passed_over(store: JobStore, put: Put) -> None:
    doorbell = put("acme", "https://photos.example/1")
    other = put("globex", "https://photos.example/2")
    assert claimed(store, doorbell, Places(full_tenants=["acme"])) == other
    assert claimed(store, doorbell, Places(full_tenants=["acme"])) is None


@pytest.mark.parametrize(
    "url", ["https://Photos.Example/2", "http://photos.example:8080?2", " http://photos.example#2"]
)
def test_a_host_with_enough_fetches_is_passed_over(store: JobStore, put: Put, url: str) -> None:
    doorbell, other = put("acme", url), put("globex", "https://other.example/photos.example/")
    assert host_of(url) == "photos.example"
    assert claimed(store, doorbell, Places(full_hosts=["photos.example"])) == other
    assert claimed(store, doorbell, Places(full_hosts=["photos.example"])) is None


def test_many_tenants_without_a_place_do_not_hide_the_next_one(store: JobStore, put: Put) -> None:
    tenants = [f"slow{number}" for number in range(10)]
    for tenant in tenants:
        for _ in range(20):
            doorbell = put(tenant, "https://photos.example/1")
    stored = put("other")
    assert claimed(store, doorbell, Places(urls=False)) == stored


def test_a_tenant_that_is_passed_over_saves_up_no_turns(
    store: JobStore, put: Put, redis: Redis
) -> None:
    slow = put("slow", "https://photos.example/1")
    for _ in range(2 * CREDIT + 1):
        put("other")
    for _ in range(2 * CREDIT):
        assert claimed(store, slow, Places(urls=False)) not in {None, slow}
    assert redis.zscore("fm:turns:normal:starter", "other") == 2 * CREDIT
    claimed(store, slow, Places(urls=False))
    turns = redis.zscore("fm:turns:normal:starter", "slow")
    assert turns is not None
    assert turns >= CREDIT
