"""Clients that use the service without a pause, each in its own way, by the Python client."""

from __future__ import annotations

import io
import itertools
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from PIL import Image

from facemend import Client, Conflict, NotFound, ProblemError

_PAUSE_S = 0.5
_PATIENT_S = 120.0  # this is no test of speed
_SIDE_PX = 256
_HALF_BYTES = 6000  # a part of the file


class Traffic:
    """Threads that use the service until the end of the block; counts what they did."""

    def __init__(self, url: str, api_key: str, webhook: str, photo: Path) -> None:
        self.done: Counter[str] = Counter()
        self.errors: list[str] = []
        self._url, self._api_key, self._webhook = url, api_key, webhook
        with Image.open(photo) as image:
            self._photo = image.convert("RGB").resize((_SIDE_PX, _SIDE_PX))
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._ways: tuple[Callable[[Client], None], ...] = (
            self._follow,
            self._wait,
            self._cancel,
            self._erase,
            self._leave,
            self._send_garbage,
        )
        self._threads = [threading.Thread(target=self._repeat, args=(way,)) for way in self._ways]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def jobs(self) -> int:
        return self.done.total()

    def problems(self) -> list[str]:
        """Return the errors of clients, and the ways that never worked."""
        idle = [_name(way) for way in self._ways if not self.done[_name(way)]]
        return self.errors[:20] + [f"{name}: never worked" for name in idle]

    def _repeat(self, way: Callable[[Client], None]) -> None:
        name = _name(way)
        with Client(self._url, self._api_key, timeout_s=_PATIENT_S) as client:
            while not self._stop.wait(_PAUSE_S):
                try:
                    way(client)
                except Exception as error:  # noqa: BLE001  # reported at the end
                    self.errors.append(f"{name}: {type(error).__name__}: {error}")
                else:
                    self.done[name] += 1

    def _new_photo(self) -> bytes:
        """Return the photo with a new comment: equal jobs of a tenant would run once."""
        file = io.BytesIO()
        self._photo.save(file, "JPEG", quality=90, comment=f"{next(self._numbers)}".encode())
        return file.getvalue()

    def _submit(self, client: Client) -> str:
        events = ["restoration.succeeded", "restoration.canceled"]
        job = client.submit(self._new_photo(), webhook={"url": self._webhook, "events": events})
        return job.id

    def _follow(self, client: Client) -> None:
        """Follow a job by its event stream, fetch the result, and erase it."""
        job_id = self._submit(client)
        last = [event.job for event in client.events(job_id)][-1]
        assert last.status == "succeeded", last.status
        client.save(job_id, io.BytesIO())
        client.erase(job_id)

    def _wait(self, client: Client) -> None:
        """Wait for a job by long polling; it expires later."""
        job = client.wait(self._submit(client))
        assert job.status == "succeeded", job.status

    def _cancel(self, client: Client) -> None:
        job_id = self._submit(client)
        with suppress(Conflict):  # it was done sooner
            client.cancel(job_id)
        assert client.wait(job_id).ended

    def _erase(self, client: Client) -> None:
        """Erase a job that waits or runs."""
        client.erase(self._submit(client))

    def _leave(self, client: Client) -> None:
        """Close an event stream in its middle."""
        job_id = self._submit(client)
        with suppress(NotFound):
            next(iter(client.events(job_id)))

    def _send_garbage(self, client: Client) -> None:
        with suppress(ProblemError):
            client.wait(client.submit(self._new_photo()[:_HALF_BYTES]))


def _name(way: Callable[[Client], None]) -> str:
    return str(getattr(way, "__name__", "")).strip("_").replace("_", " ")
