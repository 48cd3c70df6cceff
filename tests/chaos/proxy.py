"""A TCP proxy on loopback that simulates the faults of networks.

It runs in a thread with a loop of its own, so that tests and customers may block. ``weather`` is
looked at for each piece of data: a change is felt at once, also by connections that are open.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from deploy.embedded.child_process import free_port

_PIECE_BYTES = 65_536
_SLICES_A_SECOND = 10
_VERBS = (b"GET ", b"PUT ", b"POST ", b"HEAD ", b"DELETE ")
_BUSY = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    b"Content-Length: 42\r\n\r\n<Error><Code>SlowDown</Code></Error>      "
)
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, 0 s: closing sends RST


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens on the way. Shares are of requests (HTTP), chosen by a seeded die."""

    latency_s: float = 0.0  # of each piece of an answer
    bandwidth_bytes_s: int = 0  # both ways; 0: no limit
    black_hole: bool = False  # bytes are accepted and dropped, both ways
    reset: bool = False  # each connection is reset at its first bytes
    truncate_bytes: int | None = None  # so much of each answer arrives, then the end
    busy_share: float = 0.0  # get 503 instead of being passed on
    lost_answer_share: float = 0.0  # executed, but the response never arrives
    lost_verbs: tuple[bytes, ...] = (b"PUT ",)  # the requests that this happens to


FINE = Weather()


class Proxy:
    """Listens on a port of its own that stays the same; passes on to ``upstream_port``."""

    def __init__(self, upstream_port: int, *, seed: int = 0) -> None:
        self.weather = FINE
        self.faults = 0  # requests that were answered 503, or whose answer was lost
        self._upstream_port = upstream_port
        self._die = random.Random(seed)
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = free_port()  # the kernel gives it to nobody while we are down
        self.up()

    def up(self) -> None:
        """Accept connections (again)."""
        self._do(self._listen())

    def down(self) -> None:
        """Refuse new connections and reset the open ones."""
        self._do(self._stop_listening())
        self.cut()

    def cut(self) -> None:
        """Reset all connections; accept new ones."""
        self._do(self._reset_all())

    def close(self) -> None:
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextmanager
    def bad(self, weather: Weather) -> Iterator[None]:
        """Apply ``weather`` in the block; reset unfinished connections at its end."""
        self.weather = weather
        try:
            yield
        finally:
            self.weather = FINE
            if weather.black_hole or weather.bandwidth_bytes_s:
                self.cut()

    # --- in the loop --------------------------------------------------------------------------

    def _do(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=_PIECE_BYTES, reuse_address=True
        )

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _reset_all(self) -> None:
        for writer in list(self._writers):
            _reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        there: asyncio.StreamWriter | None = None
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            back, there = await asyncio.open_connection(
                "127.0.0.1", self._upstream_port, limit=_PIECE_BYTES
            )
            self._writers.add(there)
            talk = _Talk(self, reader, writer, back, there)
            await talk.run()
        for end in (writer, there):
            if end is not None:
                self._writers.discard(end)
                end.close()

    def _chance(self, share: float) -> bool:
        return share > 0 and self._die.random() < share


class _Talk:
    """One connection and its twin."""

    def __init__(
        self,
        proxy: Proxy,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamReader,
        there: asyncio.StreamWriter,
    ) -> None:
        self._proxy, self._reader, self._writer = proxy, reader, writer
        self._back, self._there = back, there
        self._answered = 0
        self._lose = False

    async def run(self) -> None:
        pumps = [
            asyncio.create_task(self._pump(self._reader, self._request)),
            asyncio.create_task(self._pump(self._back, self._answer)),
        ]
        done, pending = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            task.exception()

    async def _pump(
        self, source: asyncio.StreamReader, pass_on: Callable[[bytes], Awaitable[bool]]
    ) -> None:
        while data := await source.read(_PIECE_BYTES):
            weather = self._proxy.weather
            if weather.black_hole:
                continue
            if weather.reset:
                _reset(self._writer)
                return
            if not await pass_on(data):
                return
        if self._proxy.weather.black_hole:
            await asyncio.Event().wait()  # ignores even the end of the stream

    async def _request(self, data: bytes) -> bool:
        weather = self._proxy.weather
        if data.startswith(_VERBS):
            if self._proxy._chance(weather.busy_share):
                self._proxy.faults += 1
                self._writer.write(_BUSY)
                await self._writer.drain()
                return False
            lossy = data.startswith(weather.lost_verbs)
            if lossy and self._proxy._chance(weather.lost_answer_share):
                self._proxy.faults += 1
                self._lose = True
        await _slowly(self._there, data, weather.bandwidth_bytes_s)
        return True

    async def _answer(self, data: bytes) -> bool:
        weather = self._proxy.weather
        if self._lose and not data.startswith(b"HTTP/1.1 100"):
            _reset(self._writer)
            return False
        if weather.latency_s:
            await asyncio.sleep(weather.latency_s)
        if weather.truncate_bytes is not None:
            data = data[: max(0, weather.truncate_bytes - self._answered)]
        self._answered += len(data)
        await _slowly(self._writer, data, weather.bandwidth_bytes_s)
        return weather.truncate_bytes is None or self._answered < weather.truncate_bytes


async def _slowly(writer: asyncio.StreamWriter, data: bytes, bytes_s: int) -> None:
    if not bytes_s:
        writer.write(data)
        await writer.drain()
        return
    step = max(1, bytes_s // _SLICES_A_SECOND)
    for start in range(0, len(data), step):
        writer.write(data[start : start + step])
        await writer.drain()
        await asyncio.sleep(1 / _SLICES_A_SECOND)


def _reset(writer: asyncio.StreamWriter) -> None:
    end = writer.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
