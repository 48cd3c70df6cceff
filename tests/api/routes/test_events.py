from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from api import Services
from api.jobs import event_stream
from api.jobs.event_stream import EventStream
from api.slots import Slots
from shared.jobs.job import Job, Progress, Release, Stage
from shared.jobs.store import JobStore

Succeed = Callable[[str, str], Job]
HEARTBEAT = b": heartbeat\n\n"


def events_of(text: str) -> list[tuple[str, str, dict[str, Any]]]:
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
                if piece != HEARTBEAT:  # the server asks for a piece only when the job has changed
                    yield piece.decode()
        finally:
            answer.close()

    return stream


def test_a_stream_follows_a_job_to_its_end(
    client: Any, submit: Any, stream: Any, store: JobStore, succeed: Succeed
) -> None:
    job_id = submit(client).get_json()["id"]
    pieces = stream(job_id)
    first = next(pieces)
    assert first.startswith("retry: 2000\n\n")
    ((name, _, job),) = events_of(first)
    assert (name, job["status"]) == ("status", "queued")
    claim = store.runs.claim(job_id, "worker-1")
    assert claim is not None
    ((name, _, job),) = events_of(next(pieces))
    assert (name, job["status"]) == ("status", "running")
    store.runs.progress(job_id, claim.token, Progress(Stage.RESTORING, 1, 2))
    ((name, _, job),) = events_of(next(pieces))
    assert (name, job["progress"]["faces_done"]) == ("progress", 1)
    store.cancel("acme", job_id)
    ((name, _, _),) = events_of(next(pieces))
    assert name == "progress"
    assert store.runs.release(job_id, claim.token, Release.DRAIN) == "canceled"
    ((name, last, job),) = events_of(next(pieces))
    assert (name, job["status"]) == ("status", "canceled")
    assert next(pieces, None) is None
    assert last == str(store.get("acme", job_id).version)


def test_the_last_event_is_the_job_as_it_ended(client: Any, submit: Any, succeed: Succeed) -> None:
    job_id = submit(client).get_json()["id"]
    succeed("acme", job_id)
    answer = client.get(f"/v1/restorations/{job_id}/events")
    ((name, _, job),) = events_of(answer.get_data(as_text=True))
    assert (name, job["status"], job["result"]["image"]["width"]) == ("status", "succeeded", 4)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Accel-Buffering"] == "no"


def test_an_interrupted_stream_continues_after_the_last_event(
    client: Any, submit: Any, stream: Any, store: JobStore, succeed: Succeed
) -> None:
    job_id = submit(client).get_json()["id"]
    pieces = stream(job_id)
    ((_, first, _),) = events_of(next(pieces))
    pieces.close()
    succeed("acme", job_id)
    ((name, last, job),) = events_of("".join(stream(job_id, **{"Last-Event-ID": first})))
    assert (name, job["status"]) == ("status", "succeeded")
    assert int(last) > int(first)
    answer = client.get(f"/v1/restorations/{job_id}/events", headers={"Last-Event-ID": last})
    assert (answer.status_code, answer.data) == (204, b"")


def test_an_event_that_the_client_knows_is_not_sent_again(
    client: Any, submit: Any, stream: Any, store: JobStore
) -> None:
    job_id = submit(client).get_json()["id"]
    version = str(store.get("acme", job_id).version)
    pieces = stream(job_id, **{"Last-Event-ID": version})
    next(pieces)
    store.runs.claim(job_id, "worker-1")
    ((name, _, job),) = events_of(next(pieces))
    assert (name, job["status"]) == ("status", "running")
    pieces.close()


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 40, ""])
def test_an_unknown_last_event_id_is_ignored(
    client: Any, submit: Any, succeed: Succeed, last: str
) -> None:
    job_id = submit(client).get_json()["id"]
    succeed("acme", job_id)
    answer = client.get(f"/v1/restorations/{job_id}/events", headers={"Last-Event-ID": last})
    assert len(events_of(answer.get_data(as_text=True))) == 1


def test_a_quiet_stream_has_a_heart_beat(client: Any, submit: Any, services: Services) -> None:
    job = services.store.get("acme", submit(client).get_json()["id"])
    pieces = EventStream(job, job.version, services, stay=True)
    assert [next(pieces) for _ in range(3)] == [b"retry: 2000\n\n", HEARTBEAT, HEARTBEAT]


def test_a_stream_does_not_last_for_ever(
    client: Any, submit: Any, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "LONGEST_S", 0.0)
    job = services.store.get("acme", submit(client).get_json()["id"])
    text = b"".join(EventStream(job, None, services, stay=True)).decode()
    assert [name for name, _, _ in events_of(text)] == ["status"]


def test_streams_end_when_the_process_drains(client: Any, submit: Any, services: Services) -> None:
    services.draining.set()
    answer = client.get(f"{submit(client).headers['Location']}/events")
    assert [name for name, _, _ in events_of(answer.get_data(as_text=True))] == ["status"]


def test_a_client_without_a_slot_gets_the_job_and_reconnects_later(
    client: Any, submit: Any, services: Services
) -> None:
    object.__setattr__(services, "streaming_slots", Slots(1, 1))
    assert services.streaming_slots.acquire("acme")
    answer = client.get(f"{submit(client).headers['Location']}/events")
    text = answer.get_data(as_text=True)
    assert text.startswith("retry: ")
    assert len(events_of(text)) == 1


def test_a_stream_releases_its_slot_however_it_ends(
    client: Any, submit: Any, stream: Any, services: Services, succeed: Succeed
) -> None:
    job_id = submit(client).get_json()["id"]
    cut = stream(job_id)
    next(cut)
    assert services.streaming_slots.taken == 1
    cut.close()
    assert services.streaming_slots.taken == 0
    succeed("acme", job_id)
    "".join(stream(job_id))
    assert services.streaming_slots.taken == 0


def test_an_erased_job_ends_its_stream(
    client: Any, submit: Any, stream: Any, store: JobStore
) -> None:
    job_id = submit(client).get_json()["id"]
    pieces = stream(job_id)
    next(pieces)
    store.erase("acme", job_id)
    assert next(pieces, None) is None


def test_other_tenants_jobs_are_not_found(
    enrol: Any, client: Any, submit: Any, problem: Any
) -> None:
    path = submit(client).headers["Location"]
    assert problem(enrol("other").get(f"{path}/events")) == (404, "not-found")
