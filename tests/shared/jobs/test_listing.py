"""A tenant's jobs page by page."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from shared.errors import InvalidRequest
from shared.jobs import listing
from shared.jobs.job import Status
from shared.jobs.store import JobStore, NewJob

NewJobs = Callable[..., NewJob]


def all_pages(store: JobStore, limit: int, **filters: object) -> list[list[str]]:
    pages, cursor = [], None
    while True:
        jobs, cursor = store.list("acme", limit=limit, cursor=cursor, **filters)
        pages.append([job.id for job in jobs])
        if cursor is None:
            return pages


def all_jobs(store: JobStore, **filters: object) -> list[str]:
    return [job_id for page in all_pages(store, 2, **filters) for job_id in page]


def test_a_tenant_without_jobs_has_an_empty_page(store: JobStore) -> None:
    assert store.list("acme") == ([], None)


def test_newest_come_first_and_pages_meet_without_gap(store: JobStore, new_job: NewJobs) -> None:
    ids = [store.create(new_job()).id for _ in range(7)]
    newest = ids[::-1]
    assert all_pages(store, 3) == [newest[:3], newest[3:6], newest[6:]]
    assert all_pages(store, 7) == [newest]


def test_jobs_taken_meanwhile_do_not_shift_the_next_page(store: JobStore, new_job: NewJobs) -> None:
    ids = [store.create(new_job()).id for _ in range(4)]
    _, cursor = store.list("acme", limit=2)
    store.create(new_job())
    jobs, _ = store.list("acme", limit=2, cursor=cursor)
    assert [job.id for job in jobs] == ids[1::-1]


def test_jobs_of_one_microsecond_are_all_seen(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    ids = [store.create(new_job()).id for _ in range(5)]
    redis.zadd("fm:tenant:acme:jobs", dict.fromkeys(ids, 1795337245.417458))
    assert sorted(all_jobs(store)) == sorted(ids)


def test_a_page_holds_only_what_was_asked_for(store: JobStore, new_job: NewJobs) -> None:
    waiting = [store.create(new_job()).id for _ in range(3)]
    big = store.create(new_job(model="big")).id
    store.claim(waiting[0], "w")
    assert all_jobs(store, status=Status.RUNNING) == [waiting[0]]
    assert all_jobs(store, model="big") == [big]
    assert all_jobs(store, status=Status.QUEUED, model="starter") == waiting[:0:-1]
    assert all_jobs(store, status=Status.FAILED) == []


def test_one_call_looks_at_a_bounded_number_of_jobs(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    rare = store.create(new_job(model="big")).id
    for _ in range(listing.SCANNED + 1):
        store.create(new_job())
    jobs, cursor = store.list("acme", model="big", limit=5)
    assert jobs == []
    assert cursor is not None
    jobs, cursor = store.list("acme", model="big", limit=5, cursor=cursor)
    assert ([job.id for job in jobs], cursor) == ([rare], None)


def test_a_tenant_sees_only_its_own(store: JobStore, new_job: NewJobs) -> None:
    store.create(new_job(tenant="other"))
    mine = store.create(new_job())
    assert [job.id for job in store.list("acme")[0]] == [mine.id]


def test_an_erased_job_is_not_listed_and_its_cursor_still_works(
    store: JobStore, new_job: NewJobs
) -> None:
    ids = [store.create(new_job()).id for _ in range(4)]
    _, cursor = store.list("acme", limit=2)
    store.erase("acme", ids[2])
    jobs, _ = store.list("acme", cursor=cursor)
    assert [job.id for job in jobs] == ids[1::-1]
    assert ids[2] not in [job.id for job in store.list("acme")[0]]


@pytest.mark.parametrize(
    "cursor", ["", "x", "!!!!", "bmFuIGpvYl8x", "aW5mIGpvYl8x", "MS41IGpvYl8xIDs", "é", "A" * 500]
)
def test_a_cursor_that_is_none_of_ours_is_refused(store: JobStore, cursor: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        store.list("acme", cursor=cursor)
    assert error.value.errors == (("/cursor", "unknown cursor"),)
