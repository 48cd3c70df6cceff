"""Small objects into S3 by the short way: one signed request on a connection that is kept.

boto3's client takes some twenty times as long to say the same, which for a kilobyte is more than
all the rest of a request costs. What it is good at, trying again and telling what is wrong, is
left to it: only an answer that is plainly good counts here, and who gets none asks the client.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
import time
import weakref
from collections import deque
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote, urlsplit

from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.utils import get_environ_proxies

from shared.redis.timed_socket import limit

_LONGEST_ANSWER_BYTES = 65_536


class SmallObjects:
    """One bucket, addressed by path. Thread-safe; connects at the first call."""

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
        """``credentials`` are asked anew for each object, for they may change."""
        self._url, self._bucket_path = urlsplit(endpoint_url), f"/{quote(bucket)}/"
        self._credentials, self._region = credentials, region
        self._connect_timeout_s, self._timeout_s = connect_timeout_s, timeout_s
        # Behind a proxy only the client knows the way.
        self._direct = not get_environ_proxies(endpoint_url)
        self._tls = ssl.create_default_context() if self._url.scheme == "https" else None
        self._idle: deque[socket.socket] = deque()
        weakref.finalize(self, _close, self._idle)

    def put(
        self, key: str, data: bytes, headers: dict[str, str], *, within_s: float | None = None
    ) -> str | None:
        """Write an object whole, once. Answers its ETag, as S3 sends it.

        None: it was refused, or whether it was written is not known. ``within_s`` is kept to the
        letter, so nothing is asked unless a connection is there: looking up a name has no limit.
        """
        if self._credentials is None or not self._direct:
            return None
        path = self._bucket_path + quote(key, safe="/~")
        signed = signed_headers(
            path,
            data,
            {name.lower(): value for name, value in headers.items()} | {"host": self._url.netloc},
            credentials=self._credentials.get_frozen_credentials(),
            region=self._region,
            at=datetime.now(UTC),
        )
        fields = {**signed, "content-length": str(len(data))}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        try:
            return self._ask(f"PUT {path} HTTP/1.1\r\n{head}\r\n".encode() + data, within_s)
        except OSError:
            return None

    def _ask(self, request: bytes, within_s: float | None) -> str | None:
        try:
            connection = self._idle.pop()
        except IndexError:
            if within_s is not None:
                return None
            connection = self._connect()
        keep = False  # unless all is well nobody knows what would come next on it
        try:
            limit_s = within_s or self._timeout_s
            until_s = time.monotonic() + limit_s
            limit(connection, "send", limit_s)
            connection.sendall(request)
            fields = _good(_answer(connection, until_s))
            keep = bool(fields) and fields.get("connection", "").lower() != "close"
            return fields.get("etag")
        finally:
            if keep:
                self._idle.append(connection)
            else:
                connection.close()

    def _connect(self) -> socket.socket:
        host, port = self._url.hostname or "", self._url.port or (443 if self._tls else 80)
        plain = socket.create_connection((host, port), self._connect_timeout_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened = self._tls.wrap_socket(plain, server_hostname=host) if self._tls else plain
        opened.settimeout(None)
        return opened


def signed_headers(
    path: str,
    data: bytes,
    headers: dict[str, str],
    *,
    credentials: ReadOnlyCredentials,
    region: str,
    at: datetime,
) -> dict[str, str]:
    """All headers of a PUT, signed by AWS Signature Version 4 (botocore: ``S3SigV4Auth``).

    ``headers`` have small letters and a ``host``; ``path`` is encoded as it is sent.
    """
    instant, digest = at.strftime("%Y%m%dT%H%M%SZ"), hashlib.sha256(data).hexdigest()
    fields = headers | {"x-amz-content-sha256": digest, "x-amz-date": instant}
    if credentials.token:
        fields["x-amz-security-token"] = credentials.token
    names = ";".join(sorted(fields))
    lines = "".join(f"{name}:{fields[name].strip()}\n" for name in sorted(fields))
    request = hashlib.sha256(f"PUT\n{path}\n\n{lines}\n{names}\n{digest}".encode()).hexdigest()
    scope = f"{instant[:8]}/{region}/s3/aws4_request"
    signing_key = _signing_key(credentials.secret_key, scope)
    text = f"AWS4-HMAC-SHA256\n{instant}\n{scope}\n{request}"
    fields["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, SignedHeaders={names}, "
        f"Signature={hmac.digest(signing_key, text.encode(), 'sha256').hex()}"
    )
    return fields


@lru_cache(maxsize=4)
def _signing_key(secret: str, scope: str) -> bytes:
    """Good for one day."""
    signing_key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        signing_key = hmac.digest(signing_key, part.encode(), "sha256")
    return signing_key


def _answer(connection: socket.socket, until_s: float) -> bytes:
    """Read what came, at least its head. Raises OSError if that is not whole in time."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        limit(connection, "receive", until_s - time.monotonic())
        part = connection.recv(_LONGEST_ANSWER_BYTES)
        answer += part
        if not part or len(answer) > _LONGEST_ANSWER_BYTES or time.monotonic() > until_s:
            raise ConnectionError("no whole answer")
    return answer


def _good(answer: bytes) -> dict[str, str]:
    """The fields of an answer that says that all is well and ends with its head; else none."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    well = status.startswith("HTTP/1.1 200") and fields.get("content-length") == "0" and not body
    return fields if well else {}


def _close(idle: deque[socket.socket]) -> None:
    while idle:
        idle.pop().close()
