"""The client for programs that wait: each method returns when its work is done."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from threading import Lock
from types import TracebackType
from typing import IO, Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

import httpx

from facemend.models import Event, Restoration
from facemend.operations import Operations
from facemend.restored import RestoredPhoto
from facemend.steps import (
    Answer,
    Effect,
    Emit,
    Open,
    Read,
    Request,
    Save,
    Send,
    Sleep,
    Steps,
    Stream,
    Together,
)
from facemend.transfers import Which
from facemend.transport import Service, translated
from facemend.webhooks import verify_webhook

P = ParamSpec("P")
T = TypeVar("T")
U = TypeVar("U")


class _Method(Generic[P, T, U]):
    """An operation as a method of the client; ``run`` turns its steps into what is returned."""

    def __init__(
        self,
        operation: Callable[Concatenate[Operations, P], Steps[T]],
        run: Callable[[Client, Steps[T]], U],
    ) -> None:
        self._operation, self._run = operation, run
        self.__doc__ = operation.__doc__

    @overload
    def __get__(self, client: None, owner: type[Client]) -> Self: ...
    @overload
    def __get__(self, client: Client, owner: type[Client]) -> Callable[P, U]: ...
    def __get__(self, client: Client | None, owner: type[Client]) -> Self | Callable[P, U]:
        if client is None:
            return self

        @functools.wraps(self._operation)
        def method(*args: P.args, **kwargs: P.kwargs) -> U:
            return self._run(client, self._operation(client.operations, *args, **kwargs))

        return method


class Client:
    """A client of one service, for any number of threads. Close it, or use it in ``with``."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        timeout_s: float = 30.0,
        patience_s: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Connects to nothing yet.

        ``timeout_s``: within which a connection, or the next piece of an answer, must come.
        ``patience_s``: how long a request is sent again while the service is away, busy or does
        not answer (429, 503, broken connections). Raises ValueError for a wrong address or key.
        """
        self._service = Service.at(base_url, api_key, timeout_s)
        self._http = httpx.Client(transport=transport)
        self.operations = Operations(patience_s=patience_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # --- how steps are performed ------------------------------------------------------------------

    def run(self, steps: Steps[T], stop: Flag | None = None) -> T:
        """Perform the steps of an operation and return its result."""
        performing = self.iterate(steps, stop)
        try:
            while True:
                next(performing)
        except StopIteration as end:
            result: T = end.value
            return result

    def iterate(self, steps: Steps[T], stop: Flag | None = None) -> Generator[Any, None, T]:
        """Perform the steps, and yield what they emit; nothing more after ``stop``."""
        with ExitStack() as streams:
            streams.callback(steps.close)  # also a stop in the middle leaves no unfinished file
            value: Any = None
            failed: Exception | None = None
            while True:
                if stop is not None and stop.is_set():
                    raise CancelledError
                try:
                    effect = steps.send(value) if failed is None else steps.throw(failed)
                except StopIteration as end:
                    result: T = end.value
                    return result
                value = failed = None
                if isinstance(effect, Emit):
                    yield effect.value
                    continue
                try:
                    value = self._perform(effect, streams)
                except Exception as error:  # noqa: BLE001  # the operation decides
                    failed = error

    def _perform(self, effect: Effect, streams: ExitStack) -> Any:
        match effect:
            case Send(request):
                return self._send(request)
            case Save(request, file):
                return self._save(request, file)
            case Open(request):
                return self._open(request, streams)
            case Read(stream):
                with translated():
                    return next(stream.pieces, None)
            case Sleep(seconds):
                return time.sleep(seconds)
            case Together():
                return self._together(effect)
        raise TypeError(f"{effect!r} cannot be performed")

    def _send(self, request: Request) -> Answer:
        with ExitStack() as stack:
            response = self._respond(request, stack)
            with translated():
                return Answer(response.status_code, response.headers, response.read())

    def _save(self, request: Request, file: IO[bytes]) -> Answer:
        file.seek(0)
        file.truncate()
        with ExitStack() as stack:
            response = self._respond(request, stack)
            with translated():
                if response.status_code >= 300:
                    return Answer(response.status_code, response.headers, response.read())
                for piece in response.iter_bytes():
                    file.write(piece)
            return Answer(response.status_code, response.headers, b"")

    def _open(self, request: Request, streams: ExitStack) -> Stream:
        response = self._respond(request, streams)
        return Stream(response.status_code, response.headers, response.iter_text())

    def _respond(self, request: Request, open_until: ExitStack) -> httpx.Response:
        with ExitStack() as photo, translated():  # the photo is sent when the answer begins
            arguments = self._service.arguments(request, photo)
            return open_until.enter_context(self._http.stream(**arguments))

    def _together(self, effect: Together) -> None:
        todo, lock, stop = iter(effect.operations), Lock(), Flag()

        def work() -> None:
            while not stop.is_set():
                with lock:
                    operation = next(todo, None)
                if operation is None:
                    return
                self.run(operation(), stop)

        with ThreadPoolExecutor(effect.limit) as pool:
            workers = [pool.submit(work) for _ in range(effect.limit)]
            try:
                for worker in as_completed(workers):
                    worker.result()
            finally:
                stop.set()  # the others end at their next step

    # --- what it can do ---------------------------------------------------------------------------

    def _events(self, steps: Steps[Restoration]) -> Iterator[Event]:
        return self.iterate(steps)

    def _restored(self, steps: Steps[Restoration]) -> Restored:
        return Restored(self.run(steps), self)

    submit = _Method(Operations.submit, run)
    restore = _Method(Operations.restore, _restored)
    batch = _Method(Operations.batch, run)
    detect = _Method(Operations.detect, run)
    upload = _Method(Operations.upload, run)
    get = _Method(Operations.get, run)
    wait = _Method(Operations.wait, run)
    events = _Method(Operations.events, _events)
    cancel = _Method(Operations.cancel, run)
    retry = _Method(Operations.retry, run)
    erase = _Method(Operations.erase, run)
    list = _Method(Operations.list, run)
    submit_batch = _Method(Operations.submit_batch, run)
    get_batch = _Method(Operations.get_batch, run)
    wait_batch = _Method(Operations.wait_batch, run)
    list_batch_items = _Method(Operations.list_batch_items, run)
    cancel_batch = _Method(Operations.cancel_batch, run)
    create_token = _Method(Operations.create_token, run)
    save = _Method(Operations.save, run)
    verify_webhook = staticmethod(verify_webhook)


@dataclass(frozen=True, slots=True)
class Restored(RestoredPhoto):
    """The result of ``Client.restore``."""

    client: Client

    def save(
        self, target: str | os.PathLike[str] | IO[bytes], *, which: Which = "image"
    ) -> Path | None:
        """Write the picture, or the ``comparison``; see ``Client.save``."""
        return self.client.save(self.job, target, which=which)
