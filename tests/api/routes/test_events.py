from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from api import Services
from api.routes.events import Pace, follow
from shared.jobs.job import Job, Progress, Release, Stage
from shared.jobs.store import JobStore

Succeed = Callable[[str, str], Job]


def told(text: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, id and data of the events of a stream."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line[:1] != ":")
        if "data" in fields:
            found.append((fields["event"], fields["id"], json.loads(fields["data"])))
    return found


@pytest.fixture
def stream(client: Any, app: Any) -> Callable[..., Iterator[str]]:
    """The pieces of a stream as they come; closing it ends it."""

    def stream(job_id: str, **headers: str) -> Iterator[str]:
        plain = FlaskClient(app, app.response_class)  # reads no more than it is asked for
        answer = plain.get(
            f"/v1/restorations/{job_id}/events",
            headers={"Authorization": f"Bearer {client.secret}", **headers},
        )
        assert (answer.status_code, answer.mimetype) == (200, "text/event-stream")
        try:
            for piece in answer.iter_encoded():
                yield piece.decode()
        finally:
            answer.close()

    return stream


def test_a_job_is_followed_to_its_end(
    client: Any, submit: Any, stream: Any, store: JobStore, succeed: Succeed
) -> None:
    job_id = submit(client).get_json()["id"]
    pieces = stream(job_id)
    assert next(pieces) == "retry: 2000\n\n"
    ((name, _, job),) = told(next(pieces))
    assert (name, job["status"]) == ("status", "queued")
    claim = store.claim(job_id, "worker-1")
    assert claim is not None
    ((name, _, job),) = told(next(pieces))
    assert (name, job["status"]) == ("status", "running")
    store.progress(job_id, claim.token, Progress(Stage.RESTORING, 1, 2))
    ((name, _, job),) = told(next(pieces))
    assert (name, job["progress"]["faces_done"]) == ("progress", 1)
    store.cancel("acme", job_id)
    ((name, _, _),) = told(next(pieces))
    assert name == "progress"
    assert store.release(job_id, claim.token, Release.DRAIN) == "canceled"
    ((name, last, job),) = told(next(pieces))
    assert (name, job["status"]) == ("status", "canceled")
    assert next(pieces, None) is None
    assert last == str(store.get("acme", job_id).version)


def test_the_last_event_is_the_job_as_it_ended(client: Any, submit: Any, succeed: Succeed) -> None:
    job_id = submit(client).get_json()["id"]
    succeed("acme", job_id)
    answer = client.get(f"/v1/restorations/{job_id}/events")
    ((name, _, job),) = told(answer.get_data(as_text=True))
    assert (name, job["status"], job["result"]["image"]["width"]) == ("status", "succeeded", 4)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Accel-Buffering"] == "no"


def test_a_cut_stream_goes_on_after_the_last_event(
    client: Any, submit: Any, stream: Any, store: JobStore, succeed: Succeed
) -> None:
    job_id = submit(client).get_json()["id"]
    pieces = stream(job_id)
    next(pieces)
    ((_, first, _),) = told(next(pieces))
    pieces.close()
    succeed("acme", job_id)
    ((name, last, job),) = told("".join(stream(job_id, **{"Last-Event-ID": first})))
    assert (name, job["status"]) == ("status", "succeeded")
    assert int(last) > int(first)
    answer = client.get(f"/v1/restorations/{job_id}/events", headers={"Last-Event-ID": last})
    assert (answer.status_code, answer.data) == (204, b"")


def test_what_the_client_knows_is_not_told_again(
    client: Any, submit: Any, stream: Any, store: JobStore
) -> None:
    job_id = submit(client).get_json()["id"]
    version = str(store.get("acme", job_id).version)
    pieces = stream(job_id, **{"Last-Event-ID": version})
    next(pieces)
    store.claim(job_id, "worker-1")
    ((name, _, job),) = told(next(pieces))
    assert (name, job["status"]) == ("status", "running")
    pieces.close()


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 40, ""])
def test_an_id_that_is_none_of_ours_is_as_good_as_none(
    client: Any, submit: Any, succeed: Succeed, last: str
) -> None:
    job_id = submit(client).get_json()["id"]
    succeed("acme", job_id)
    answer = client.get(f"/v1/restorations/{job_id}/events", headers={"Last-Event-ID": last})
    assert len(told(answer.get_data(as_text=True))) == 1


def test_a_quiet_stream_has_a_heart_beat(client: Any, submit: Any, services: Services) -> None:
    job = services.store.get("acme", submit(client).get_json()["id"])
    pieces = follow(job, job.version, services, stay=True, pace=Pace(heartbeat_s=0))
    assert [next(pieces) for _ in range(3)] == ["retry: 2000\n\n", *[": still here\n\n"] * 2]


def test_a_stream_does_not_last_for_ever(client: Any, submit: Any, services: Services) -> None:
    job = services.store.get("acme", submit(client).get_json()["id"])
    pieces = follow(job, None, services, stay=True, pace=Pace(longest_s=0.3))
    assert [name for name, _, _ in told("".join(pieces))] == ["status"]


def test_streams_end_when_the_process_drains(client: Any, submit: Any, services: Services) -> None:
    services.draining.set()
    answer = client.get(f"{submit(client).headers['Location']}/events")
    assert [name for name, _, _ in told(answer.get_data(as_text=True))] == ["status"]


def test_who_finds_no_place_gets_the_job_and_comes_again(
    client: Any, submit: Any, services: Services
) -> None:
    while services.streaming_places.acquire(blocking=False):
        pass
    answer = client.get(f"{submit(client).headers['Location']}/events")
    text = answer.get_data(as_text=True)
    assert text.startswith("retry: ")
    assert len(told(text)) == 1
    assert services.waiting_places.acquire(blocking=False)  # not taken in vain


def test_places_are_given_back_however_a_stream_ends(
    client: Any, submit: Any, stream: Any, services: Services, succeed: Succeed
) -> None:
    def free() -> int:
        taken = 0
        while services.streaming_places.acquire(blocking=False):
            taken += 1
        for _ in range(taken):
            services.streaming_places.release()
        return taken

    before = free()
    job_id = submit(client).get_json()["id"]
    cut = stream(job_id)
    next(cut)
    assert free() == before - 1
    cut.close()
    assert free() == before
    succeed("acme", job_id)
    "".join(stream(job_id))
    assert free() == before


def test_streams_leave_places_for_those_who_wait(services: Services) -> None:
    streams = waiting = 0
    while services.streaming_places.acquire(blocking=False):
        streams += 1
    while services.waiting_places.acquire(blocking=False):
        waiting += 1
    assert 0 < streams < waiting < services.settings.api_threads


def test_an_erased_job_ends_its_stream(
    client: Any, submit: Any, stream: Any, store: JobStore
) -> None:
    job_id = submit(client).get_json()["id"]
    pieces = stream(job_id)
    next(pieces), next(pieces)
    store.erase("acme", job_id)
    assert next(pieces, None) is None


def test_other_tenants_jobs_are_not_there(
    enrol: Any, client: Any, submit: Any, problem: Any
) -> None:
    path = submit(client).headers["Location"]
    assert problem(enrol("other").get(f"{path}/events")) == (404, "not-found")
