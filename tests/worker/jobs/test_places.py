"""The places of a worker: for its device, and for fetching photos."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from shared.errors import JobCanceled
from shared.jobs.job import Job, Priority, Status
from shared.jobs.runs import ANY_PLACE, Claim
from tests.waiting import eventually
from worker.jobs.places import DevicePlaces, FetchPlaces, Line


class Waiter(threading.Thread):
    """Waits for a device place, notes that it has one, and keeps it until ``done`` is set."""

    def __init__(self, places: DevicePlaces, line: Line, order: list[Line]) -> None:
        super().__init__(daemon=True)
        self._places, self._line, self._order = places, line, order
        self.done = threading.Event()

    def run(self) -> None:
        with self._places.hold(self._line):
            self._order.append(self._line)
            self.done.wait()


def waiting(places: DevicePlaces, line: Line) -> int:
    return len(places._waiting[line])


def test_doorbells_and_fetched_photos_take_turns() -> None:
    places, order = DevicePlaces(1), list[Line]()
    with places.hold(Line.DOORBELL):
        waiters = [Waiter(places, line, order) for line in [Line.FETCHED] * 3 + [Line.DOORBELL] * 2]
        for waiter in waiters:
            waiter.done.set()
            waiter.start()
        eventually(lambda: waiting(places, Line.FETCHED) == 3)
        eventually(lambda: waiting(places, Line.DOORBELL) == 2)
    for waiter in waiters:
        waiter.join()
    assert order == [Line.FETCHED, Line.DOORBELL, Line.FETCHED, Line.DOORBELL, Line.FETCHED]


def test_no_more_jobs_than_places_use_the_device() -> None:
    places, order = DevicePlaces(2), list[Line]()
    waiters = [Waiter(places, Line.FETCHED, order) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    eventually(lambda: len(order) == 2 and waiting(places, Line.FETCHED) == 1)
    for waiter in waiters:
        waiter.done.set()
        waiter.join()
    assert len(order) == 3


def test_a_stopped_job_leaves_the_line() -> None:
    places, order = DevicePlaces(1), list[Line]()

    def stop() -> None:
        raise JobCanceled

    with places.hold(Line.DOORBELL):
        with pytest.raises(JobCanceled), places.hold(Line.FETCHED, stop):
            pass
        waiter = Waiter(places, Line.FETCHED, order)
        waiter.start()
        eventually(lambda: waiting(places, Line.FETCHED) == 1)
    eventually(lambda: order == [Line.FETCHED])
    waiter.done.set()
    waiter.join()


def test_fetched_photos_leave_fewer_doorbells_but_always_one() -> None:
    places, heard = DevicePlaces(2), list[int]()
    places.on_free = lambda: heard.append(places.for_doorbells)
    with ExitStack() as held:
        assert places.for_doorbells == 2
        for _ in range(2):
            held.enter_context(places.hold(Line.FETCHED))
        assert places.for_doorbells == 1
    assert heard == [1, 2]


def claim(token: str, tenant: str, url: str) -> Claim:
    job = Job(
        id=f"job_{token}",
        tenant=tenant,
        status=Status.RUNNING,
        model="m",
        priority=Priority.NORMAL,
        request={},
        source={"url": url},
        created_at=0.0,
    )
    return Claim(job, token)


def test_a_tenant_and_a_host_are_full_before_all_places_are() -> None:
    places = FetchPlaces(total=3, per_tenant=1, per_host=2)
    assert places.available(stored=True) == ANY_PLACE
    claims = [
        claim("1", "acme", "http://a.example/1"),
        claim("2", "globex", "http://A.example:8000/2"),
        claim("3", "initech", "http://b.example/3"),
    ]
    places.add(claims[0])
    assert places.available(stored=True).full_tenants == ("acme",)
    assert places.available(stored=True).full_hosts == ()
    places.add(claims[1])
    assert places.available(stored=True).full_hosts == ("a.example",)
    assert places.available(stored=True).urls
    places.add(claims[2])
    assert not places.available(stored=True).urls
    assert [places.free(claims[0]), places.free(claims[0])] == [True, False]
    assert places.available(stored=False).urls
    assert not places.available(stored=False).stored
