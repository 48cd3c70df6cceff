"""Listen, bound the number of connections, and end in good order on SIGTERM."""

from __future__ import annotations

import asyncio
import ctypes
import ipaddress
import logging
import resource
import socket
import sys

from flask import Flask
from prometheus_client import REGISTRY

from api.context import Services
from api.server.connection import Connection
from api.server.gauges import ServerGauges
from api.server.resources import Resources
from shared.errors import SettingsInvalid
from shared.settings import Settings

_log = logging.getLogger(__name__)

#: Connections that may stand in the kernel's queue, and that are open at most.
_BACKLOG, _MAX_CONNECTIONS = 2_048, 4_096
#: Descriptors for everything else: Redis, S3, bodies on disk, log files.
_OTHER_DESCRIPTORS = 512
#: Bytes that a connection may send before anybody reads them (asyncio keeps up to twice as many).
_READ_AHEAD_BYTES = 32_768
#: What a socket may hold of an answer that its client does not read. Bounds the kernel's memory.
_SEND_BUFFER_BYTES = 131_072
#: After so many connections, memory goes back to the system when three quarters of them have ended.
_MANY_CONNECTIONS = 64
#: For requests in flight when the process is told to end; slow uploads need it.
_DRAIN_S = 25.0
#: A thread that computes gives the interpreter up after this time, so that the loop stays quick.
_SWITCH_S = 0.001


class Server:
    """Serves ``app`` at ``services.settings.api_bind``."""

    def __init__(self, app: Flask, services: Services) -> None:
        """Raises SettingsInvalid."""
        self.resources = Resources(app, services)
        self.connections: dict[asyncio.Task[None], Connection] = {}
        self.max_connections = _MAX_CONNECTIONS
        #: The most connections since memory was given back last.
        self._most_connections = 0
        #: Connections that have not sent a whole head, the longest silent first.
        self._headless: dict[Connection, None] = {}

    async def serve(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set, then drain. Raises SettingsInvalid, OSError."""
        sys.setswitchinterval(_SWITCH_S)
        self.max_connections = min(self.max_connections, _raise_limit() - _OTHER_DESCRIPTORS)
        listener = await asyncio.start_server(
            self._accept,
            sock=listen(self.resources.settings),
            backlog=_BACKLOG,
            limit=_READ_AHEAD_BYTES,
        )
        _log.info("ready at %s", self.resources.settings.api_bind)
        gauges = ServerGauges(self.resources, self.connections)
        REGISTRY.register(gauges)
        try:
            await stop.wait()
            listener.close()
            await self._drain()
        finally:
            REGISTRY.unregister(gauges)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self.resources, self._headless, reader, writer)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is a coroutine
        self.connections[task] = connection
        self._most_connections = max(self._most_connections, len(self.connections))
        if len(self.connections) > self.max_connections:
            # Whoever has been silent for longest goes: the newcomer, if all others are at work.
            silent = next(iter(self._headless), connection)
            self._headless.pop(silent, None)
            silent.abort()
        try:
            await connection.run()
        except Exception:  # noqa: BLE001 - of one connection; the others go on
            _log.exception("a connection failed")
            connection.abort()
        finally:
            del self.connections[task]
            self._give_memory_back()

    def _give_memory_back(self) -> None:
        """Return free memory to the system after many connections have ended.

        The C library keeps the buffers of slow readers, tens of megabytes, for later use.
        """
        count = len(self.connections)
        many = self._most_connections >= _MANY_CONNECTIONS
        if many and count <= self._most_connections // 4 and not self._drains():
            self._most_connections = count
            self.resources.start_in_background(_trim)

    def _drains(self) -> bool:
        return self.resources.services.draining.is_set()

    async def _drain(self) -> None:
        self.resources.services.draining.set()
        self.resources.watch.wake_all()
        for connection in list(self._headless):
            connection.end_if_idle()
        if self.connections:
            await asyncio.wait(self.connections, timeout=_DRAIN_S)
        for connection in self.connections.values():
            connection.abort()
        self.resources.close()


def _trim() -> None:
    """Give free memory back to the system, if the C library can (glibc, malloc_trim(3))."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _raise_limit() -> int:
    """Raise the soft limit of descriptors to what is allowed; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_CONNECTIONS + _OTHER_DESCRIPTORS
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def listen(settings: Settings) -> socket.socket:
    """Bind a socket to ``host:port`` or ``[address]:port``. Raises SettingsInvalid, OSError."""
    bind = settings.api_bind
    host, _, port = bind.rpartition(":")
    host = host.strip("[]") or "0.0.0.0"  # noqa: S104 - as the operator says: no host, all of them
    if not (port.isascii() and port.isdigit()):
        raise SettingsInvalid(f"FACEMEND_API_BIND: {bind} is not host:port")
    try:
        six = ipaddress.ip_address(host).version == 6
    except ValueError:
        six = False
    opened = socket.socket(socket.AF_INET6 if six else socket.AF_INET)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    opened.bind((host, int(port)))
    return opened
