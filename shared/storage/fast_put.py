"""Writes a small object to S3 with one signed HTTP request on a kept connection.

For a kilobyte, boto3's client needs many times the processor time of this request, which is more
than the rest of a submission. Retries and error messages stay with boto3: only the plain answer of
a successful PUT counts here, and the caller asks boto3 after anything else.
"""

from __future__ import annotations

import socket
import ssl
import weakref
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from botocore.credentials import Credentials
from botocore.utils import get_environ_proxies

from shared.storage.signature import sign_put
from shared.telemetry import S3_SECONDS, timed
from shared.timed_socket import TimedSocket

_MAX_HEAD_BYTES = 16_384
_DEFAULT_PORTS = {"http": 80, "https": 443}


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
        endpoint = urlsplit(endpoint_url)
        self._host = endpoint.netloc
        self._address = endpoint.hostname or "", endpoint.port or _DEFAULT_PORTS[endpoint.scheme]
        self._tls = ssl.create_default_context() if endpoint.scheme == "https" else None
        self._root = f"{endpoint.path.rstrip('/')}/{quote(bucket)}/"
        self._credentials, self._region = credentials, region
        self._connect_timeout_s, self._timeout_s = connect_timeout_s, timeout_s
        self._proxied = bool(get_environ_proxies(endpoint_url))  # only boto3 speaks to proxies
        self._idle: deque[socket.socket] = deque()
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
            {**headers, "host": self._host},
            credentials=self._credentials.get_frozen_credentials(),
            region=self._region,
            at=datetime.now(UTC),
        )
        fields = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
        head = f"PUT {path} HTTP/1.1\r\n{fields}content-length: {len(data)}\r\n\r\n"
        try:
            connection = self._take(within_s)
            if connection is None:
                return None
            with timed(self._seconds):
                return self._send(connection, head.encode() + data)
        except OSError:
            return None

    def _take(self, within_s: float | None) -> socket.socket | None:
        """Return a connection whose time limit is set, None if there is none to use."""
        try:
            connection = self._idle.pop()
        except IndexError:
            if within_s is not None:
                return None
            connection = self._connect()
        connection.settimeout(within_s or self._timeout_s)
        return connection

    def _send(self, connection: socket.socket, request: bytes) -> str | None:
        keep = False  # after an error the next bytes on the connection are unknown
        try:
            connection.sendall(request)
            fields = _fields_of_success(_read_head(connection))
            keep = bool(fields) and fields.get("connection", "").lower() != "close"
            return fields.get("etag")
        finally:
            if keep:
                self._idle.append(connection)
            else:
                connection.close()

    def _connect(self) -> socket.socket:
        plain = socket.create_connection(self._address, self._connect_timeout_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            return TimedSocket.on(plain)
        return self._tls.wrap_socket(plain, server_hostname=self._address[0])


def _read_head(connection: socket.socket) -> bytes:
    """Read what arrives until it has a whole head. Raises OSError if there is none."""
    read = b""
    while b"\r\n\r\n" not in read:
        part = connection.recv(_MAX_HEAD_BYTES)
        read += part
        if not part or len(read) > _MAX_HEAD_BYTES:
            raise ConnectionError("no whole head of an answer")
    return read


def _fields_of_success(answer: bytes) -> dict[str, str]:
    """Return the header fields of a 200 without a body, none of any other answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    split = (line.partition(":") for line in lines)
    fields = {name.lower(): value.strip() for name, _, value in split}
    success = status.startswith("HTTP/1.1 200") and fields.get("content-length") == "0" and not body
    return fields if success else {}


def _close_all(idle: deque[socket.socket]) -> None:
    while idle:
        idle.pop().close()
