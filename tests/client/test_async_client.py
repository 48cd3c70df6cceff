from __future__ import annotations

import asyncio
import inspect
import io
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import facemend
from facemend import AsyncClient, Client
from shared.jobs.job import Job
from tests.api.serving import Server
from tests.chaos.proxy import FINE, Proxy, Weather
from tests.client.conftest import PICTURE, Worker
from tests.waiting import eventually

Use = Callable[[Callable[[AsyncClient], Awaitable[Any]]], Any]


@pytest.fixture
def use(api: Server, api_key: str) -> Use:
    """Run a function with a client, in a loop of its own."""

    def use(work: Callable[[AsyncClient], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            async with AsyncClient(api.url, api_key, patience_s=20) as client:
                return await work(client)

        return asyncio.run(run())

    return use


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def test_both_clients_have_the_same_methods() -> None:
    assert public(Client) - {"close"} == public(AsyncClient) - {"aclose"}


def test_photos_are_restored_at_the_same_time_and_saved(
    use: Use, working: Worker, photo: Path, tmp_path: Path
) -> None:
    async def work(client: AsyncClient) -> list[facemend.AsyncRestored]:
        done = await asyncio.gather(*(client.restore(photo, seed=n) for n in range(3)))
        await asyncio.gather(*(one.save(tmp_path / f"{one.job.id}.png") for one in done))
        return done

    done = use(work)
    assert sorted(one.job.options["seed"] for one in done) == [0, 1, 2]
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {PICTURE}
    assert len(list(tmp_path.iterdir())) == 3


def test_an_open_file_is_sent(use: Use, photo: Path) -> None:
    async def work(client: AsyncClient) -> facemend.Restoration:
        with photo.open("rb") as file:
            return await client.submit(file)

    assert use(work).input["bytes"] == photo.stat().st_size


def test_a_photo_is_sent_straight_to_the_storage(use: Use, photo: Path) -> None:
    async def work(client: AsyncClient) -> facemend.Restoration:
        return await client.submit(upload_id=(await client.upload(photo)).upload_id)

    assert use(work).status == "queued"


def test_events_are_iterated(use: Use, worker: Worker, photo: Path) -> None:
    async def work(client: AsyncClient) -> list[str]:
        seen = []
        async for event in client.events(await client.submit(photo)):
            seen.append(event.job.status)
            if event.job.status == "queued":
                await asyncio.to_thread(lambda: worker.succeed(*worker.next()))
        return seen

    seen = use(work)
    assert (seen[0], seen[-1]) == ("queued", "succeeded")


def test_progress_is_told(use: Use, working: Worker, photo: Path) -> None:
    seen: list[str] = []

    async def work(client: AsyncClient) -> facemend.Restoration:
        return await client.wait(
            await client.submit(photo), on_progress=lambda job: seen.append(job.status)
        )

    assert use(work).status == "succeeded"
    assert seen[-1] == "succeeded"


def test_a_job_is_canceled_and_erased(use: Use, photo: Path) -> None:
    async def work(client: AsyncClient) -> str:
        job = await client.cancel(await client.submit(photo))
        await client.erase(job)
        with pytest.raises(facemend.NotFound):
            await client.get(job)
        return job.status

    assert use(work) == "canceled"


def test_a_picture_is_written_to_a_file(use: Use, working: Worker, photo: Path) -> None:
    file = io.BytesIO()

    async def work(client: AsyncClient) -> None:
        await (await client.restore(photo)).save(file)

    use(work)
    assert file.getvalue() == PICTURE


def test_a_lost_answer_makes_one_job(proxy: Proxy, api_key: str, photo: Path, store: Any) -> None:
    proxy.weather = Weather(lost_answer_share=1.0, lost_verbs=(b"POST ",))

    def clear() -> None:
        eventually(lambda: proxy.faults > 0)
        proxy.weather = FINE

    thread = threading.Thread(target=clear)
    thread.start()

    async def run() -> facemend.Restoration:
        async with AsyncClient(f"http://127.0.0.1:{proxy.port}", api_key) as client:
            return await client.submit(photo)

    job = asyncio.run(run())
    thread.join()
    stored: list[Job] = store.page("acme", status=None, model=None, limit=10, cursor=None)[0]
    assert [one.id for one in stored] == [job.id]


def test_a_caller_that_is_cancelled_stops_waiting(use: Use, photo: Path) -> None:
    async def work(client: AsyncClient) -> str:
        job = await client.submit(photo)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.wait(job), 0.3)
        return (await client.get(job)).status

    assert use(work) == "queued"


def test_methods_show_the_help_of_their_operation() -> None:
    for kind in (Client, AsyncClient):
        assert "idempotency key" in (inspect.getdoc(kind.submit) or "")
