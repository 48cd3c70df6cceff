"""A network connection that goes to an address which was checked, and ends when its time is up.

``httpcore`` connects by name and has a time limit for each read. Both are too weak for addresses
that strangers give us: the name may answer differently the second time (DNS rebinding), and a
server that sends a byte a second keeps every single read short. So the name is resolved here,
once, every answer is checked, and the socket is opened to one of those very answers; and all
steps, name lookup and TLS included, share one deadline. TLS and the Host header still see the name.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any, Protocol

import httpcore

from shared.errors import InputForbidden, InputNotFound, InputTimeout
from shared.net.addresses import check_address, literal

#: Longest wait for one address of a name, so that a dead first one leaves time for the next.
CONNECT_S = 5.0
#: More answers than this are nobody's photo server.
MAX_ADDRESSES = 16


class Resolver(Protocol):
    """Turns a name into addresses; ``OSError`` when there are none."""

    def addresses(self, host: str, port: int) -> list[str]: ...


class SystemResolver:
    """What the machine is set up to use, through ``getaddrinfo``."""

    def addresses(self, host: str, port: int) -> list[str]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Deadline:
    """A moment on the monotonic clock."""

    def __init__(self, timeout_s: float) -> None:
        self._at = time.monotonic() + timeout_s

    def remaining_s(self) -> float:
        """Seconds left, more than 0; InputTimeout when none are."""
        left_s = self._at - time.monotonic()
        if left_s <= 0:
            raise InputTimeout("The server did not answer in time")
        return left_s


class CheckedBackend(httpcore.NetworkBackend):
    """Opens connections of one exchange: resolves, checks every answer, connects to one."""

    def __init__(self, resolver: Resolver, deadline: Deadline, *, allow_private: bool) -> None:
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
        """InputForbidden if any answer is refused, InputNotFound if none can be reached."""
        del timeout, local_address, socket_options  # the deadline rules; nobody sets the others
        addresses = self._checked(host, port)
        for address in addresses:
            wait_s = min(CONNECT_S, self._deadline.remaining_s())
            try:
                opened = socket.create_connection((address, port), wait_s)
            except OSError:
                continue
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return DeadlineStream(opened, self._deadline)
        self._deadline.remaining_s()  # out of time is another thing than refused
        raise InputNotFound("The server cannot be reached")

    def _checked(self, host: str, port: int) -> list[str]:
        spelt = literal(host)
        answers = [str(spelt)] if spelt is not None else self._resolve(host, port)
        try:
            for answer in answers:
                check_address(ip_address(answer), allow_private=self._allow_private)
        except ValueError:
            raise InputForbidden("The server's name has an answer that is no address") from None
        return answers[:MAX_ADDRESSES]

    def _resolve(self, host: str, port: int) -> list[str]:
        """Look the name up in a thread of its own: ``getaddrinfo`` knows no time limit."""
        answers: list[str] = []

        def look_up() -> None:
            try:
                answers.extend(self._resolver.addresses(host, port))
            except (OSError, UnicodeError):
                return  # no answers: told below

        thread = threading.Thread(target=look_up, name="resolve", daemon=True)
        thread.start()
        thread.join(self._deadline.remaining_s())
        if thread.is_alive():
            raise InputTimeout("The server's name could not be looked up in time")
        if not answers:
            raise InputNotFound("The server's name has no address")
        return answers


class DeadlineStream(httpcore.NetworkStream):
    """A socket whose every step waits no longer than until the deadline."""

    def __init__(self, opened: socket.socket, deadline: Deadline) -> None:
        self._socket = opened
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            self._socket.settimeout(self._deadline.remaining_s())
            return self._socket.recv(max_bytes)
        except TimeoutError:
            raise InputTimeout("The server did not answer in time") from None
        except OSError as error:
            raise httpcore.ReadError(str(error)) from None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        rest = memoryview(buffer)
        try:
            while rest:
                self._socket.settimeout(self._deadline.remaining_s())
                rest = rest[self._socket.send(rest) :]
        except TimeoutError:
            raise InputTimeout("The server did not take the request in time") from None
        except OSError as error:
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
            self._socket.settimeout(self._deadline.remaining_s())
            secured = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
        except TimeoutError:
            self.close()
            raise InputTimeout("The server did not answer in time") from None
        except (OSError, ValueError) as error:
            self.close()
            raise httpcore.ConnectError(str(error)) from None
        return DeadlineStream(secured, self._deadline)
