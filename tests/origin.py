"""A web server and a name server that do exactly what a test tells them to."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    """A whole answer; ``status`` is code and phrase."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


def headers(request: str) -> dict[str, str]:
    """Header names come in lower case."""
    lines = request.partition("\r\n\r\n")[0].split("\r\n")[1:]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


class Origin:
    """A web server whose every byte is in the test's hand, on a loopback port of its own.

    ``answers`` maps paths to bytes, or to iterators of pieces that are sent until the client has
    enough. ``requests`` holds what came in, as text.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, bytes | Callable[[], Iterator[bytes]]] = {}
        self.requests: list[str] = []
        self._tls = tls
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    def close(self) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "an answer without end, or one that waits for the test"
        self._listener.close()

    def drip(self, pieces: bytes = b"x") -> Iterator[bytes]:
        """A piece every 20 ms, for ever."""
        while not self._closing.wait(0.02):
            yield pieces

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(5)
            self._threads.append(
                threading.Thread(target=self._serve, args=[connection], daemon=True)
            )
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        request = self._read(connection)
        self.requests.append(request)
        path = request.split(" ")[1]
        answer = self.answers[path]
        for piece in [answer] if isinstance(answer, bytes) else answer():
            connection.sendall(piece)

    def _read(self, connection: socket.socket) -> str:
        got = b""
        while b"\r\n\r\n" not in got:
            got += self._more(connection)
        head, body = got.split(b"\r\n\r\n", 1)
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                while len(body) < int(line.split(b":")[1]):
                    body += self._more(connection)
        return (head + b"\r\n\r\n" + body).decode()

    @staticmethod
    def _more(connection: socket.socket) -> bytes:
        got = connection.recv(65_536)
        if not got:
            raise ConnectionError("the client went away")
        return got


class ScriptedResolver:
    """Answers each lookup of a name with the next of its scripted answers."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self._answers = {name.replace("_", "."): iter(each) for name, each in answers.items()}
        self.asked: list[str] = []

    def addresses(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        try:
            return next(self._answers[host])
        except (KeyError, StopIteration):
            raise socket.gaierror(socket.EAI_NONAME, "no such name") from None
