"""The HTTP client for URLs of clients: it fetches photos and sends webhooks.

Such a URL may point to the internal network (SSRF), redirect there, never end, or send a
decompression bomb. ``vet`` checks the text of a URL. ``Fetcher`` checks it again at each redirect,
and the addresses that it connects to. Bodies are not decompressed, their size is limited while
they arrive, and errors never contain them. Proxies and netrc of the environment are not used.
"""

from __future__ import annotations

import contextlib
import email.utils
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import httpcore
import idna

from shared.errors import (
    InputForbidden,
    InputNotFound,
    InputTimeout,
    InputTooLarge,
    InputUnreachable,
)
from shared.net.addresses import check_address, check_name, literal
from shared.net.connection import CheckedBackend, Deadline, Resolver, SystemResolver
from shared.settings import PrivateAddresses

MAX_URL_CHARS = 2048
MAX_REDIRECTS = 3
DEFAULT_PORT = {"http": 80, "https": 443}
REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: A server with such a status may respond otherwise soon (RFC 9110, RFC 8470, RFC 6585).
_PASSING = frozenset({408, 425, 429, *range(500, 600)})
_PUBLIC_PORTS = frozenset({80, 443, *range(8000, 9000)})
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
_HOST_FORBIDDEN = re.compile(r"[\s\u2028\u2029]")
#: Bytes of a header that are no UTF-8, as Python's ``surrogateescape`` decodes them.
_RAW_BYTE = re.compile(r"[\udc80-\udcff]")
_AUTHORITY = re.compile(r"\s*[A-Za-z]+://([^/?#]*)")
_PORT = re.compile(r":[0-9]*$")
_PATH_SAFE = "/%:@!$&'()*+,;=~-._?"


@dataclass(frozen=True, slots=True)
class Reply:
    """The response of a webhook receiver. ``body`` is cut off at the limit of the caller."""

    status_code: int
    retry_after_s: float | None
    body: bytes


@dataclass(frozen=True, slots=True)
class _Target:
    """A checked URL: ``host`` is an ASCII name or an address, ``path`` is percent-encoded."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORT[self.scheme] else f"{host}:{self.port}"

    def url(self) -> httpcore.URL:
        return httpcore.URL(scheme=self.scheme, host=self.host, port=self.port, target=self.path)


def vet(url: str, *, allow_private: PrivateAddresses) -> None:
    """Raises InputForbidden if the text of ``url`` shows that it must not be fetched.

    Checks scheme, credentials, port, length, characters, and addresses in every notation. It asks
    no name server: ``Fetcher`` checks the addresses when it connects.
    """
    _parse(url, allow_private=allow_private)


def _parse(url: str, *, allow_private: PrivateAddresses) -> _Target:
    if len(url) > MAX_URL_CHARS:
        raise InputForbidden(f"The address is longer than {MAX_URL_CHARS} characters")
    url = url.strip(" ")
    if _FORBIDDEN.search(url):
        raise InputForbidden("The address holds a backslash or a control character")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InputForbidden("The address is not a valid URL") from None
    if parts.scheme not in DEFAULT_PORT:
        raise InputForbidden("Only http: and https: addresses are fetched")
    if "@" in parts.netloc:
        raise InputForbidden("The address must not hold a user name or password")
    port = DEFAULT_PORT[parts.scheme] if port is None else port
    if port == 0 or not (allow_private == "all" or port in _PUBLIC_PORTS):
        raise InputForbidden("The port is not allowed; use 80, 443 or one of 8000 to 8999")
    host = _host(parts, allow_private=allow_private)
    path = quote(parts.path or "/", safe=_PATH_SAFE)
    query = f"?{quote(parts.query, safe=_PATH_SAFE)}" if parts.query else ""
    return _Target(parts.scheme, host, port, path + query)


def host_of(url: str) -> str:
    """Return the host of a URL without its port, as the script ``claim`` finds it."""
    authority = _AUTHORITY.match(url)
    return _PORT.sub("", authority[1].lower()) if authority else ""


def _host(parts: SplitResult, *, allow_private: PrivateAddresses) -> str:
    """Return the host as it is sent: an address or an ASCII name."""
    host = parts.hostname or ""
    # In brackets stands an IPv6 address, or what RFC 3986 calls IPvFuture: [v1.fe80].
    bracketed = parts.netloc.startswith("[")
    if _HOST_FORBIDDEN.search(host) or (bracketed and ":" not in host):
        raise InputForbidden("The address's host name is not valid")
    address = literal(host)
    if address is not None:
        check_address(address, allow_private=allow_private)
        return str(address)
    try:
        name = host if host.isascii() else idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError:
        raise InputForbidden("The address's host name is not valid") from None
    check_name(name, allow_private=allow_private)
    return name


class Fetcher:
    """Fetches and posts. Thread-safe: each exchange opens and closes its own connection.

    ``resolver`` and ``ssl_context`` default to those of the operating system.
    """

    def __init__(
        self,
        *,
        allow_private: PrivateAddresses,
        resolver: Resolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._resolver = resolver or SystemResolver()
        self._ssl_context = ssl_context or httpcore.default_ssl_context()

    def get(
        self,
        url: str,
        *,
        max_bytes: int,
        timeout_s: float,
        head_s: float | None = None,
        min_bytes_per_s: float = 0,
        check: Callable[[], None] = lambda: None,
    ) -> bytes:
        """Return the body at ``url``. At most three redirects are followed, each checked too.

        The body must begin within ``head_s`` seconds, and have ``min_bytes_per_s`` in each period
        of five seconds. ``check`` is called several times a second, and may raise to stop.

        Raises InputForbidden, InputNotFound (any status but 200, bad TLS, no HTTP), InputTooLarge
        past ``max_bytes``, InputTimeout if the server is too slow or everything together takes
        longer than ``timeout_s``, and InputUnreachable if nothing responds, the connection breaks,
        or the server is overloaded or broken (429, 5xx).
        """
        deadline = Deadline(timeout_s, head_s=head_s, check=check)
        for _ in range(1 + MAX_REDIRECTS):
            with self._exchange("GET", url, deadline, {"Accept": "image/*"}, b"") as response:
                if response.status not in REDIRECTS:
                    deadline.begin_body(min_bytes_per_s)
                    return _photo_bytes(response, max_bytes)
                url = _redirect_target(url, response)
        raise InputForbidden(f"The server redirects more than {MAX_REDIRECTS} times")

    def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        max_reply_bytes: int = 16_384,
    ) -> Reply:
        """Post ``body`` and return the response, whatever its status. Redirects are not followed.

        After the status has arrived, a slow, long or incomplete body is no error.
        Raises InputForbidden, InputNotFound (bad TLS, no HTTP), InputUnreachable, InputTimeout.
        """
        with self._exchange("POST", url, Deadline(timeout_s), headers, body) as response:
            got = bytearray()
            with contextlib.suppress(InputTimeout, httpcore.NetworkError, httpcore.ProtocolError):
                for piece in response.iter_stream():
                    got += piece
                    if len(got) >= max_reply_bytes:
                        break
            return Reply(response.status, _retry_after_s(response), bytes(got[:max_reply_bytes]))

    def put(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        check: Callable[[], None] = lambda: None,
    ) -> int:
        """Put ``body`` and return the status of the response. Redirects are not followed.

        ``check`` is called several times a second, and may raise to stop. Raises as ``post`` does.
        """
        deadline = Deadline(timeout_s, check=check)
        with self._exchange("PUT", url, deadline, headers, body) as response:
            return response.status

    @contextlib.contextmanager
    def _exchange(
        self, method: str, url: str, deadline: Deadline, headers: Mapping[str, str], body: bytes
    ) -> Iterator[httpcore.Response]:
        """Send one request on a new connection. Errors of httpcore become errors of the tree."""
        target = _parse(url, allow_private=self._allow_private)
        backend = CheckedBackend(self._resolver, deadline, allow_private=self._allow_private)
        all_headers = [
            *headers.items(),
            ("Host", target.authority),
            ("User-Agent", "Facemend"),
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
        ]
        try:
            with (
                httpcore.ConnectionPool(
                    ssl_context=self._ssl_context, network_backend=backend
                ) as pool,
                pool.stream(
                    method, target.url(), headers=all_headers, content=body or None
                ) as response,
            ):
                yield response
        except (httpcore.NetworkError, httpcore.ProtocolError):
            # The response may contain a secret, so the detail has nothing of it.
            if deadline.closed:
                raise InputUnreachable(
                    "The server closed the connection before its response was complete"
                ) from None
            raise InputNotFound("The server's response is not valid HTTP(S)") from None


def _photo_bytes(response: httpcore.Response, max_bytes: int) -> bytes:
    if response.status != 200:
        kind = InputUnreachable if response.status in _PASSING else InputNotFound
        raise kind(f"The server responded with status {response.status}")
    if (_header(response, b"content-encoding") or "identity").lower() != "identity":
        raise InputNotFound(
            "The server sent the photo compressed, although the request excluded this"
        )
    promised = _header(response, b"content-length") or ""
    if promised.isdecimal() and int(promised) > max_bytes:
        raise InputTooLarge(f"The file is larger than {max_bytes} bytes")
    got = bytearray()
    for piece in response.iter_stream():
        got += piece
        if len(got) > max_bytes:
            raise InputTooLarge(f"The file is larger than {max_bytes} bytes")
    return bytes(got)


def _redirect_target(url: str, response: httpcore.Response) -> str:
    # Browsers and curl percent-encode the bytes of Location that are no ASCII. Most are UTF-8.
    location = _header(response, b"location", "utf-8")
    location = location and _RAW_BYTE.sub(lambda raw: f"%{ord(raw[0]) - 0xDC00:02X}", location)
    if not location:
        raise InputNotFound("The server redirects to nowhere")
    try:
        return urljoin(url, location)
    except ValueError:
        raise InputForbidden("The server redirects to something that is not a valid URL") from None


def _header(response: httpcore.Response, name: bytes, encoding: str = "latin-1") -> str | None:
    """Return the first header of that name; bytes that the encoding lacks become surrogates."""
    for key, value in response.headers:
        if key.lower() == name:
            return value.decode(encoding, "surrogateescape").strip()
    return None


def _retry_after_s(response: httpcore.Response) -> float | None:
    """Return seconds from now, from either form of ``Retry-After`` (RFC 9110 §10.2.3)."""
    value = _header(response, b"retry-after") or ""
    if value.isascii() and value.isdecimal():
        return float(value[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
