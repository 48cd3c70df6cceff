"""Writes a small object to S3 with one signed HTTP request on a kept connection.

For a kilobyte, boto3's client needs many times the processor time of this request, which is more
than the rest of a submission. Retries and error messages stay with boto3: only a 200 counts here,
and the caller asks boto3 after anything else.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from io import BufferedReader
from urllib.parse import quote, urlsplit

from botocore.credentials import Credentials
from botocore.utils import get_environ_proxies

from shared.storage.signature import sign_put
from shared.telemetry import S3_SECONDS, timed
from shared.timed_socket import TimedSocket

_MAX_LINE_BYTES, _MAX_FIELDS = 65_536, 100


class FastPut:
    """Writes to one bucket, addressed by path. Thread-safe; connects at the first call."""

    def __init__(
        self,
        endpoint_url: str,
        bucket: str,
        *,
        credentials: Credentials | None,
        region: str,
        connect_timeout_s: float,
        timeout_s: float,
    ) -> None:
        """``timeout_s`` limits each read and write. ``credentials`` may change between calls."""
        self._endpoint = urlsplit(endpoint_url)
        self._root = f"{self._endpoint.path.rstrip('/')}/{quote(bucket)}/"
        self._credentials, self._region = credentials, region
        self._connect_timeout_s, self._timeout_s = connect_timeout_s, timeout_s
        self._proxied = bool(get_environ_proxies(endpoint_url))  # only boto3 speaks to proxies
        self._idle: deque[HTTPConnection] = deque()
        self._seconds = S3_SECONDS.labels("PutObject")
        weakref.finalize(self, _close_all, self._idle)

    def put(
        self, key: str, data: bytes, headers: Mapping[str, str], *, within_s: float | None = None
    ) -> str | None:
        """Write a whole object with one attempt. Returns its ETag as S3 sends it.

        Returns None if S3 refused, or if it is not known whether the object was written.
        ``headers`` have lower-case names. ``within_s`` limits each read and write instead of
        ``timeout_s``. Then only a kept connection is used, because the lookup of a host name has no
        time limit.
        """
        if self._credentials is None or self._proxied:
            return None
        path = self._root + quote(key, safe="/~")
        signed = sign_put(
            path,
            data,
            {**headers, "host": self._endpoint.netloc},
            credentials=self._credentials.get_frozen_credentials(),
            region=self._region,
            at=datetime.now(UTC),
        )
        try:
            connection = self._take(within_s)
            if connection is None:
                return None
            with timed(self._seconds):
                return self._send(connection, path, data, signed)
        except (OSError, HTTPException, ValueError):
            return None

    def _take(self, within_s: float | None) -> HTTPConnection | None:
        """Return a connection whose time limit is set, None if there is none to use."""
        try:
            connection = self._idle.pop()
        except IndexError:
            if within_s is not None:
                return None
            connection = self._connect()
        connection.sock.settimeout(within_s or self._timeout_s)
        return connection

    def _send(
        self, connection: HTTPConnection, path: str, data: bytes, headers: dict[str, str]
    ) -> str | None:
        keep = False  # after an error the next bytes on the connection are unknown
        try:
            fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            head = f"PUT {path} HTTP/1.1\r\n{fields}content-length: {len(data)}\r\n\r\n"
            connection.send(head.encode() + data)  # its ``request`` sends head and data apart
            with connection.sock.makefile("rb") as received:
                status, response = _read_head(received)
                if status != 200:
                    return None
                length = int(response.get("content-length", "-1"))
                complete = length >= 0 and len(received.read(length)) == length
                keep = complete and response.get("connection", "").lower() != "close"
                return response.get("etag")
        finally:
            if keep:
                self._idle.append(connection)
            else:
                connection.close()

    def _connect(self) -> HTTPConnection:
        secure = self._endpoint.scheme == "https"
        kind = HTTPSConnection if secure else HTTPConnection
        connection = kind(self._endpoint.netloc, timeout=self._connect_timeout_s)
        connection.connect()
        if not secure:
            connection.sock = TimedSocket.on(connection.sock)
        return connection


def _read_head(received: BufferedReader) -> tuple[int, dict[str, str]]:
    """Return the status and the header fields, with lower-case names. Raises ValueError.

    http.client parses it as mail, which took almost half of the processor time of ``put``.
    """
    version, status, *_ = _read_line(received).split(" ", 2)
    if version != "HTTP/1.1":
        raise ValueError("another protocol")
    fields: dict[str, str] = {}
    for _ in range(_MAX_FIELDS):
        line = _read_line(received)
        if not line:
            return int(status), fields
        name, _, value = line.partition(":")
        fields[name.lower()] = value.strip()
    raise ValueError("too many header fields")


def _read_line(received: BufferedReader) -> str:
    line = received.readline(_MAX_LINE_BYTES)
    if not line.endswith(b"\n"):
        raise ValueError("a line is cut off or too long")
    return line.decode("latin-1").rstrip("\r\n")


def _close_all(idle: deque[HTTPConnection]) -> None:
    while idle:
        idle.pop().close()
