"""The client for asyncio: the same methods as ``Client``, to await."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
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
        run: Callable[[AsyncClient, Steps[T]], U],
    ) -> None:
        self._operation, self._run = operation, run
        self.__doc__ = operation.__doc__

    @overload
    def __get__(self, client: None, owner: type[AsyncClient]) -> Self: ...
    @overload
    def __get__(self, client: AsyncClient, owner: type[AsyncClient]) -> Callable[P, U]: ...
    def __get__(
        self, client: AsyncClient | None, owner: type[AsyncClient]
    ) -> Self | Callable[P, U]:
        if client is None:
            return self

        @functools.wraps(self._operation)
        def method(*args: P.args, **kwargs: P.kwargs) -> U:
            return self._run(client, self._operation(client.operations, *args, **kwargs))

        return method


class AsyncClient:
    """A client of one service, in one event loop. Close it, or use it in ``async with``."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        timeout_s: float = 30.0,
        patience_s: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Connects to nothing yet; the arguments are those of ``Client``. Raises ValueError."""
        self._service = Service.at(base_url, api_key, timeout_s)
        self._http = httpx.AsyncClient(transport=transport)
        self.operations = Operations(patience_s=patience_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    # --- how steps are performed ------------------------------------------------------------------

    async def run(self, steps: Steps[T]) -> T:
        """Perform the steps of an operation and return its result."""
        result: list[T] = []
        async for _ in self.iterate(steps, result.append):
            pass
        return result[0]

    async def iterate(
        self, steps: Steps[T], at_end: Callable[[T], object] = id
    ) -> AsyncIterator[Any]:
        """Perform the steps, and yield the values that they emit; ``at_end`` gets the result."""
        async with AsyncExitStack() as streams:
            streams.callback(steps.close)  # also a stop in the middle leaves no unfinished file
            value: Any = None
            failed: Exception | None = None
            while True:
                try:
                    effect = steps.send(value) if failed is None else steps.throw(failed)
                except StopIteration as end:
                    at_end(end.value)
                    return
                value = failed = None
                if isinstance(effect, Emit):
                    yield effect.value
                    continue
                try:
                    value = await self._perform(effect, streams)
                except Exception as error:  # noqa: BLE001  # the operation decides
                    failed = error

    async def _perform(self, effect: Effect, streams: AsyncExitStack) -> Any:
        match effect:
            case Send(request):
                return await self._send(request)
            case Save(request, file):
                return await self._save(request, file)
            case Open(request):
                return await self._open(request, streams)
            case Read(stream):
                with translated():
                    return await anext(stream.pieces, None)
            case Sleep(seconds):
                return await asyncio.sleep(seconds)
            case Together():
                return await self._together(effect)
        raise TypeError(f"{effect!r} cannot be performed")

    async def _send(self, request: Request) -> Answer:
        async with AsyncExitStack() as stack:
            response = await self._respond(request, stack)
            with translated():
                return Answer(response.status_code, response.headers, await response.aread())

    async def _save(self, request: Request, file: IO[bytes]) -> Answer:
        file.seek(0)
        file.truncate()
        async with AsyncExitStack() as stack:
            response = await self._respond(request, stack)
            with translated():
                if response.status_code >= 300:
                    return Answer(response.status_code, response.headers, await response.aread())
                async for piece in response.aiter_bytes():
                    file.write(piece)
            return Answer(response.status_code, response.headers, b"")

    async def _open(self, request: Request, streams: AsyncExitStack) -> Stream:
        response = await self._respond(request, streams)
        return Stream(response.status_code, response.headers, response.aiter_text())

    async def _respond(self, request: Request, open_until: AsyncExitStack) -> httpx.Response:
        with ExitStack() as photo, translated():  # the photo is sent when the answer begins
            arguments = self._service.arguments(request, photo)
            return await open_until.enter_async_context(self._http.stream(**arguments))

    async def _together(self, effect: Together) -> None:
        todo = iter(effect.operations)

        async def work() -> None:
            for operation in todo:
                await self.run(operation())

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(effect.limit):
                    group.create_task(work())
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    # --- what it can do ---------------------------------------------------------------------------

    def _events(self, steps: Steps[Restoration]) -> AsyncIterator[Event]:
        return self.iterate(steps)

    async def _restored(self, steps: Steps[Restoration]) -> AsyncRestored:
        return AsyncRestored(await self.run(steps), self)

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
class AsyncRestored(RestoredPhoto):
    """The result of ``AsyncClient.restore``."""

    client: AsyncClient

    def save(
        self, target: str | os.PathLike[str] | IO[bytes], *, which: Which = "image"
    ) -> Coroutine[Any, Any, Path | None]:
        """Write the picture, or the ``comparison``; see ``Client.save``."""
        return self.client.save(self.job, target, which=which)
