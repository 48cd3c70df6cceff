"""Faults of the network between a client and the real API."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import facemend
from facemend import Client, Restoration
from shared.jobs.job import Job
from tests.api.serving import Server
from tests.chaos.proxy import FINE, Proxy, Weather
from tests.client.conftest import PICTURE, Worker
from tests.waiting import eventually

Jobs = Callable[[], list[Job]]


@contextmanager
def until_first_fault(
    proxy: Proxy, weather: Weather, happened: Callable[[], bool]
) -> Iterator[None]:
    """Bad weather until it has had its effect; then fine weather."""
    proxy.weather = weather

    def clear() -> None:
        eventually(happened)
        proxy.weather = FINE

    thread = threading.Thread(target=clear)
    thread.start()
    yield
    thread.join()


@pytest.fixture
def far(proxy: Proxy, api_key: str) -> Iterator[Client]:
    """A client on the other side of a network that fails."""
    with Client(f"http://127.0.0.1:{proxy.port}", api_key, timeout_s=1, patience_s=30) as client:
        yield client


def test_a_lost_answer_makes_one_job(far: Client, proxy: Proxy, photo: Path, jobs: Jobs) -> None:
    lost = Weather(lost_answer_share=1.0, lost_verbs=(b"POST ",))
    with until_first_fault(proxy, lost, lambda: proxy.faults > 0):
        job = far.submit(photo)
    assert [job.id] == [stored.id for stored in jobs()]


def test_a_request_that_times_out_makes_one_job(
    far: Client, proxy: Proxy, photo: Path, jobs: Jobs
) -> None:
    with until_first_fault(proxy, Weather(latency_s=5), lambda: len(jobs()) > 0):
        job = far.submit(photo)
    assert [job.id] == [stored.id for stored in jobs()]


def test_a_canceled_job_whose_answer_was_lost_is_canceled(
    far: Client, proxy: Proxy, photo: Path
) -> None:
    job = far.submit(photo)
    lost = Weather(lost_answer_share=1.0, lost_verbs=(b"POST ",))
    with until_first_fault(proxy, lost, lambda: proxy.faults > 0):
        assert far.cancel(job).status == "canceled"


def test_an_erased_job_whose_answer_was_lost_is_erased(
    far: Client, proxy: Proxy, photo: Path, jobs: Jobs
) -> None:
    job = far.submit(photo)
    lost = Weather(lost_answer_share=1.0, lost_verbs=(b"DELETE ",))
    with until_first_fault(proxy, lost, lambda: proxy.faults > 0):
        far.erase(job)
    assert jobs() == []


def test_a_broken_connection_is_made_again(far: Client, proxy: Proxy, photo: Path) -> None:
    job = far.submit(photo)
    proxy.down()
    threading.Timer(1, proxy.up).start()
    assert far.get(job).id == job.id


def test_a_busy_service_is_asked_again(far: Client, proxy: Proxy, photo: Path) -> None:
    with until_first_fault(proxy, Weather(busy_share=1.0), lambda: proxy.faults > 1):
        assert far.submit(photo).status == "queued"


def test_events_go_on_after_a_broken_connection_and_none_is_repeated(
    far: Client, proxy: Proxy, worker: Worker, photo: Path
) -> None:
    job = far.submit(photo)
    ids: list[str] = []
    for event in far.events(job):
        ids.append(event.id)
        if event.job.status == "queued":
            proxy.cut()
            worker.succeed(*worker.next())
    assert ids == sorted(set(ids), key=int)
    assert event.job.status == "succeeded"


def test_progress_goes_on_after_a_broken_connection(
    far: Client, proxy: Proxy, worker: Worker, photo: Path
) -> None:
    seen: list[str] = []

    def on_progress(job: Restoration) -> None:
        seen.append(job.status)
        if job.status == "queued":
            proxy.cut()
            worker.succeed(*worker.next())

    assert far.wait(far.submit(photo), on_progress=on_progress).status == "succeeded"
    assert seen[0] == "queued"


def test_patience_ends(proxy: Proxy, api_key: str) -> None:
    proxy.down()
    url = f"http://127.0.0.1:{proxy.port}"
    with Client(url, api_key, patience_s=0.5) as client, pytest.raises(facemend.Unreachable):
        client.list()


def test_another_server_is_no_facemend_service(seaweed_url: str, api_key: str) -> None:
    with Client(seaweed_url, api_key) as client, pytest.raises(facemend.UnexpectedAnswer):
        client.list()


def test_a_picture_that_breaks_off_is_fetched_again(
    api: Server, api_key: str, working: Worker, photo: Path, tmp_path: Path
) -> None:
    with Client(api.url, api_key, timeout_s=1) as client:
        job = client.restore(photo).job
        assert job.result is not None
        assert job.result.image.url is not None
        s3_port = int(job.result.image.url.split("/")[2].split(":")[1])
        broken = Proxy(s3_port)
        url = job.result.image.url.replace(f":{s3_port}/", f":{broken.port}/")
        image = job.result.image.model_copy(update={"url": url})
        through = job.model_copy(update={"result": job.result.model_copy(update={"image": image})})
        broken.weather = Weather(truncate_bytes=100)
        threading.Timer(0.5, lambda: setattr(broken, "weather", FINE)).start()
        client.save(through, tmp_path / "out.png")
        broken.close()
    assert (tmp_path / "out.png").read_bytes() == PICTURE
