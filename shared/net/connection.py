"""A network connection to a checked address, with one deadline for everything.

``httpcore`` connects by name and has a time limit for each read. Both are too weak for the URLs of
clients: a second name lookup may return another address (DNS rebinding), and a server that sends
one byte a second keeps each read short. So the name is resolved here, once, each address is
checked, and the socket connects to one of them. All steps, with name lookup and TLS, share one
deadline. TLS and the Host header use the name.

A wait is divided into short slices. After each one the caller may stop the exchange, and the
server must have sent enough.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from ipaddress import ip_address
from typing import Any, Protocol, TypeVar

import httpcore

from shared.errors import InputForbidden, InputNotFound, InputTimeout, InputUnreachable
from shared.net.addresses import check_address, literal
from shared.settings import PrivateAddresses

#: The longest wait for one address of a name, so that a dead one leaves time for the next.
CONNECT_S = 5.0
#: No photo server has more addresses than this.
MAX_ADDRESSES = 16
#: How long a wait lasts before the caller may stop the exchange.
SLICE_S = 0.25
#: A body must have the minimum rate in each period of so many seconds.
RATE_PERIOD_S = 5.0
#: Bytes before the body: all interim responses (1xx) and redirects, and what arrives with them.
MAX_HEAD_BYTES = 524_288

_Result = TypeVar("_Result")


class Resolver(Protocol):
    """Resolves a name to addresses. Raises OSError if there are none."""

    def addresses(self, host: str, port: int) -> list[str]: ...


class SystemResolver:
    """The resolver of the operating system, by ``getaddrinfo``."""

    def addresses(self, host: str, port: int) -> list[str]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _go_on() -> None:
    """The default check of an exchange: nobody stops it."""


class Deadline:
    """The time limits of an exchange: for everything, for the head, and the rate of the body.

    ``check`` is called several times a second, and may raise to stop the exchange. The head of the
    response must have arrived after ``head_s`` seconds (None: no such limit).
    """

    def __init__(
        self, timeout_s: float, *, head_s: float | None = None, check: Callable[[], None] = _go_on
    ) -> None:
        now_s = time.monotonic()
        self._end_s = now_s + timeout_s
        self._head_end_s = self._end_s if head_s is None else now_s + head_s
        self._check = check
        self._received_bytes = 0
        self._in_body = False
        #: Whether the server has ended the connection.
        self.closed = False
        self._min_bytes = 0.0  # in one period of the body
        self._period_end_s = self._end_s

    def begin_body(self, min_bytes_per_s: float) -> None:
        """The head has arrived. From now on, the body must have this rate."""
        self._in_body = True
        self._min_bytes = min_bytes_per_s * RATE_PERIOD_S
        self._begin_period()

    def received(self, count: int) -> None:
        """Count bytes from the server. Raises InputNotFound if the head has too many."""
        self._received_bytes += count
        if not self._in_body and self._received_bytes > MAX_HEAD_BYTES:
            raise InputNotFound("The server's response has too long a head")

    def remaining_s(self) -> float:
        """Return the seconds left, more than 0. Raises InputTimeout if there are none."""
        now_s = time.monotonic()
        if now_s >= self._period_end_s and self._in_body:
            if self._received_bytes < self._min_bytes:
                raise InputTimeout("The server sends the photo too slowly")
            self._begin_period()
        end_s = self._end_s if self._in_body else min(self._end_s, self._head_end_s)
        if now_s >= end_s:
            raise InputTimeout("The server did not respond in time")
        return end_s - now_s

    def wait(self, attempt: Callable[[float], _Result], timeout_s: float | None = None) -> _Result:
        """Call ``attempt`` with short time limits until it no longer raises TimeoutError.

        Raises TimeoutError after ``timeout_s`` seconds, InputTimeout at the deadline, and what
        ``check`` raises.
        """
        give_up_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self._check()
            try:
                return attempt(min(SLICE_S, self.remaining_s()))
            except TimeoutError:
                if give_up_s is not None and time.monotonic() >= give_up_s:
                    raise

    def _begin_period(self) -> None:
        self._received_bytes = 0
        self._period_end_s = time.monotonic() + RATE_PERIOD_S


class CheckedBackend(httpcore.NetworkBackend):
    """Opens the connections of one exchange: resolves, checks all addresses, connects to one."""

    def __init__(
        self, resolver: Resolver, deadline: Deadline, *, allow_private: PrivateAddresses
    ) -> None:
        self._resolver = resolver
        self._deadline = deadline
        self._allow_private = allow_private

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Raises InputForbidden if any address is refused, InputUnreachable if none responds."""
        del (
            timeout,
            local_address,
            socket_options,
        )  # the deadline replaces the timeout; the others are not used
        addresses = self._checked(host, port)
        for address in addresses:
            try:
                opened = self._connect(address, port)
            except OSError:
                continue
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return DeadlineStream(opened, self._deadline)
        self._deadline.remaining_s()  # raises InputTimeout if the time was the cause
        raise InputUnreachable("The server cannot be reached")

    def _connect(self, address: str, port: int) -> socket.socket:
        """Raises OSError, also a TimeoutError after ``CONNECT_S``."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_STREAM)
        with contextlib.ExitStack() as on_error:
            on_error.callback(opened.close)
            opened.setblocking(False)
            state = opened.connect_ex((address, port))
            if state == errno.EINPROGRESS:
                self._deadline.wait(lambda slice_s: _await_writable(opened, slice_s), CONNECT_S)
                state = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if state:
                raise OSError(state, os.strerror(state))
            on_error.pop_all()
        return opened

    def _checked(self, host: str, port: int) -> list[str]:
        written = literal(host)
        addresses = [str(written)] if written is not None else self._resolve(host, port)
        try:
            for address in addresses:
                check_address(ip_address(address), allow_private=self._allow_private)
        except ValueError:
            raise InputForbidden(
                "The server's name resolves to something that is not an address"
            ) from None
        return addresses[:MAX_ADDRESSES]

    def _resolve(self, host: str, port: int) -> list[str]:
        """Look up the name in another thread, because ``getaddrinfo`` has no time limit."""
        found: Future[list[str]] = Future()

        def look_up() -> None:
            try:
                found.set_result(self._resolver.addresses(host, port))
            except (OSError, UnicodeError) as error:
                found.set_exception(_NoAddress(is_passing=_is_passing(error)))

        threading.Thread(target=look_up, name="resolve", daemon=True).start()
        try:
            addresses = self._deadline.wait(found.result)
        except _NoAddress as error:
            if error.is_passing:
                raise InputUnreachable(
                    "The server's name cannot be looked up at the moment"
                ) from None
            addresses = []
        if not addresses:
            raise InputNotFound("The server's name has no address")
        return addresses


class _NoAddress(Exception):
    """The name server found no address. ``is_passing``: it may find one later."""

    def __init__(self, *, is_passing: bool) -> None:
        super().__init__()
        self.is_passing = is_passing


def _is_passing(error: Exception) -> bool:
    """Return whether the name server itself failed, rather than found no such name."""
    return isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN


def _await_writable(opened: socket.socket, timeout_s: float) -> None:
    """Raises TimeoutError."""
    poll = select.poll()  # unlike select(), it has no limit of descriptors
    poll.register(opened, select.POLLOUT)
    if not poll.poll(1000 * timeout_s):
        raise TimeoutError


class DeadlineStream(httpcore.NetworkStream):
    """A socket whose operations end at the deadline at the latest."""

    def __init__(self, opened: socket.socket, deadline: Deadline) -> None:
        self._socket = opened
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        def receive(slice_s: float) -> bytes:
            self._socket.settimeout(slice_s)
            return self._socket.recv(max_bytes)

        try:
            data = self._deadline.wait(receive)
        except OSError as error:
            self._deadline.closed = True
            raise httpcore.ReadError(str(error)) from None
        self._deadline.closed = not data
        self._deadline.received(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        rest = memoryview(buffer)

        def send(slice_s: float) -> int:
            self._socket.settimeout(slice_s)
            return self._socket.send(rest)

        try:
            while rest:
                rest = rest[self._deadline.wait(send) :]
        except OSError as error:
            self._deadline.closed = True
            raise httpcore.WriteError(str(error)) from None

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        try:
            secured = ssl_context.wrap_socket(
                self._socket, server_hostname=server_hostname, do_handshake_on_connect=False
            )
        except (OSError, ValueError) as error:
            self.close()
            raise httpcore.ConnectError(str(error)) from None

        def shake_hands(slice_s: float) -> None:
            secured.settimeout(slice_s)
            secured.do_handshake()

        try:
            self._deadline.wait(shake_hands)
        except (OSError, ValueError) as error:
            secured.close()
            self._deadline.closed = isinstance(error, ssl.SSLEOFError | ConnectionError)
            raise httpcore.ConnectError(str(error)) from None
        except BaseException:
            secured.close()
            raise
        return DeadlineStream(secured, self._deadline)
