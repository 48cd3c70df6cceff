"""A network connection to a checked address, with one deadline for everything.

``httpcore`` connects by name and has a time limit for each read. Both are too weak for the URLs of
clients: a second name lookup may return another address (DNS rebinding), and a server that sends
one byte a second keeps each read short. So the name is resolved here, once, each address is
checked, and the socket connects to one of them. All steps, with name lookup and TLS, share one
deadline. TLS and the Host header use the name.
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
from shared.settings import PrivateAddresses

#: The longest wait for one address of a name, so that a dead one leaves time for the next.
CONNECT_S = 5.0
#: No photo server has more addresses than this.
MAX_ADDRESSES = 16


class Resolver(Protocol):
    """Resolves a name to addresses. Raises OSError if there are none."""

    def addresses(self, host: str, port: int) -> list[str]: ...


class SystemResolver:
    """The resolver of the operating system, by ``getaddrinfo``."""

    def addresses(self, host: str, port: int) -> list[str]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Deadline:
    """A moment on the monotonic clock."""

    def __init__(self, timeout_s: float) -> None:
        self._at = time.monotonic() + timeout_s

    def remaining_s(self) -> float:
        """Return the seconds left, more than 0. Raises InputTimeout if there are none."""
        left_s = self._at - time.monotonic()
        if left_s <= 0:
            raise InputTimeout("The server did not respond in time")
        return left_s


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
        """Raises InputForbidden if any address is refused, InputNotFound if none can be reached."""
        del (
            timeout,
            local_address,
            socket_options,
        )  # the deadline replaces the timeout; the others are not used
        addresses = self._checked(host, port)
        for address in addresses:
            wait_s = min(CONNECT_S, self._deadline.remaining_s())
            try:
                opened = socket.create_connection((address, port), wait_s)
            except OSError:
                continue
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return DeadlineStream(opened, self._deadline)
        self._deadline.remaining_s()  # raises InputTimeout if the time was the cause
        raise InputNotFound("The server cannot be reached")

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
        addresses: list[str] = []

        def look_up() -> None:
            try:
                addresses.extend(self._resolver.addresses(host, port))
            except (OSError, UnicodeError):
                return  # no addresses: raised below

        thread = threading.Thread(target=look_up, name="resolve", daemon=True)
        thread.start()
        thread.join(self._deadline.remaining_s())
        if thread.is_alive():
            raise InputTimeout("The server's name could not be looked up in time")
        if not addresses:
            raise InputNotFound("The server's name has no address")
        return addresses


class DeadlineStream(httpcore.NetworkStream):
    """A socket whose operations end at the deadline at the latest."""

    def __init__(self, opened: socket.socket, deadline: Deadline) -> None:
        self._socket = opened
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            self._socket.settimeout(self._deadline.remaining_s())
            return self._socket.recv(max_bytes)
        except TimeoutError:
            raise InputTimeout("The server did not respond in time") from None
        except OSError as error:
            raise httpcore.ReadError(str(error)) from None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        rest = memoryview(buffer)
        try:
            while rest:
                self._socket.settimeout(self._deadline.remaining_s())
                rest = rest[self._socket.send(rest) :]
        except TimeoutError:
            raise InputTimeout("The server did not accept the request in time") from None
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
            raise InputTimeout("The server did not respond in time") from None
        except (OSError, ValueError) as error:
            self.close()
            raise httpcore.ConnectError(str(error)) from None
        return DeadlineStream(secured, self._deadline)
