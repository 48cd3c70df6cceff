"""Small objects into S3 by the short way: botocore's signature, a connection that is kept.

boto3's client takes some ten times as long to say the same, which for a kilobyte is more than all
the rest of a request costs. What it is good at, trying again and telling what is wrong, is left to
it: who gets no good answer here asks the client.
"""

from __future__ import annotations

import http.client
import ssl
import weakref
from collections import deque
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.utils import get_environ_proxies


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
        self._open = credentials is not None and not get_environ_proxies(endpoint_url)
        self._tls = ssl.create_default_context() if self._url.scheme == "https" else None
        self._idle: deque[http.client.HTTPConnection] = deque()
        weakref.finalize(self, _close, self._idle)

    def put(self, key: str, data: bytes, headers: dict[str, str]) -> str | None:
        """Write an object whole, once. Answers its ETag, as S3 sends it.

        None: whether it was written is not known, or it was refused.
        """
        if not self._open:
            return None
        path = self._bucket_path + quote(key, safe="/~")
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connection()
        try:
            if connection.sock is None:
                connection.connect()
            connection.sock.settimeout(self._timeout_s)
            connection.request("PUT", path, data, self._sign(path, data, headers))
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return None
        self._idle.append(connection)  # which connects anew if the answer has closed it
        whole = answer.length == 0  # of what was announced nothing is missing
        return answer.headers["ETag"] if whole and answer.status == HTTPStatus.OK else None

    def _sign(self, path: str, data: bytes, headers: dict[str, str]) -> dict[str, str]:
        assert self._credentials is not None  # noqa: S101  # see ``_open``
        url = f"{self._url.scheme}://{self._url.netloc}{path}"
        request = AWSRequest("PUT", url, headers=headers, data=data)
        frozen = self._credentials.get_frozen_credentials()
        S3SigV4Auth(frozen, "s3", self._region).add_auth(request)
        return dict(request.headers.items())

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._tls is None:
            return http.client.HTTPConnection(host, port, timeout=self._connect_timeout_s)
        return http.client.HTTPSConnection(
            host, port, timeout=self._connect_timeout_s, context=self._tls
        )


def _close(idle: deque[http.client.HTTPConnection]) -> None:
    while idle:
        idle.pop().close()
