"""The one HTTP client for addresses that customers give us: photos to fetch, webhooks to send.

Such an address may point at our own network (SSRF), redirect there, never end, or answer with a
bomb. ``vet`` judges the text alone; ``Fetcher`` judges it again at each hop together with the
addresses that it really connects to. Bodies are taken as they are sent, never decompressed, counted
while they arrive, and never shown in an error. No proxy or netrc of the environment is used.
"""

from __future__ import annotations

import contextlib
import email.utils
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import httpcore
import idna

from shared.errors import InputForbidden, InputNotFound, InputTimeout, InputTooLarge
from shared.net.addresses import check_address, check_name, literal
from shared.net.connection import CheckedBackend, Deadline, Resolver, SystemResolver

MAX_URL_CHARS = 2048
MAX_REDIRECTS = 3
DEFAULT_PORT = {"http": 80, "https": 443}
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PUBLIC_PORTS = frozenset({80, 443, *range(8000, 9000)})
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\\]")
_PATH_SAFE = "/%:@!$&'()*+,;=~-._?"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a webhook's receiver answered. ``body`` is cut off at the caller's cap."""

    status_code: int
    retry_after_s: float | None
    body: bytes


@dataclass(frozen=True, slots=True)
class _Target:
    """A vetted URL: ``host`` is an ASCII name or a plain address, ``path`` is percent-encoded."""

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


def vet(url: str, *, allow_private: bool) -> None:
    """Raise InputForbidden if the text of ``url`` already shows that it will not be fetched.

    Looks at scheme, credentials, port, length, characters and, in every spelling, at literal
    addresses. Asks no name server: ``Fetcher`` checks the answers when it connects.
    """
    _parse(url, allow_private=allow_private)


def _parse(url: str, *, allow_private: bool) -> _Target:
    if len(url) > MAX_URL_CHARS:
        raise InputForbidden(f"The address is longer than {MAX_URL_CHARS} characters")
    if _FORBIDDEN.search(url):
        raise InputForbidden("The address holds a space, a backslash or a control character")
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
    if port == 0 or not (allow_private or port in _PUBLIC_PORTS):
        raise InputForbidden("The port is not allowed; use 80, 443 or one of 8000 to 8999")
    host = _host(parts, allow_private=allow_private)
    path = quote(parts.path or "/", safe=_PATH_SAFE)
    query = f"?{quote(parts.query, safe=_PATH_SAFE)}" if parts.query else ""
    return _Target(parts.scheme, host, port, path + query)


def _host(parts: SplitResult, *, allow_private: bool) -> str:
    """Return the host as it goes on the wire: a plain address or an ASCII name."""
    host = parts.hostname or ""
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
    """Thread-safe: each exchange opens a connection of its own and closes it.

    ``resolver`` and ``ssl_context`` are what the machine offers unless given.
    """

    def __init__(
        self,
        *,
        allow_private: bool,
        resolver: Resolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._allow_private = allow_private
        self._resolver = resolver or SystemResolver()
        self._ssl_context = ssl_context or httpcore.default_ssl_context()

    def get(self, url: str, *, max_bytes: int, timeout_s: float) -> bytes:
        """Return the body at ``url``; at most three redirects, each checked like the first.

        Raises InputForbidden, InputNotFound (also: unreachable, any status but 200, bad TLS),
        InputTooLarge past ``max_bytes``, InputTimeout after ``timeout_s`` for everything together.
        """
        deadline = Deadline(timeout_s)
        for _ in range(1 + MAX_REDIRECTS):
            with self._exchange("GET", url, deadline, {"Accept": "image/*"}, b"") as answer:
                if answer.status not in REDIRECTS:
                    return _photo_bytes(answer, max_bytes)
                url = _redirect_target(url, answer)
        raise InputForbidden(f"The server redirects more than {MAX_REDIRECTS} times")

    def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        timeout_s: float,
        max_answer_bytes: int = 16_384,
    ) -> Answer:
        """Post ``body`` and take the answer's status, whatever it is; redirects are not followed.

        Once the status is there, a body that is slow, long or broken off takes nothing back.
        Raises InputForbidden, InputNotFound (unreachable, bad TLS, no HTTP), InputTimeout.
        """
        with self._exchange("POST", url, Deadline(timeout_s), headers, body) as answer:
            got = bytearray()
            with contextlib.suppress(InputTimeout, httpcore.NetworkError, httpcore.ProtocolError):
                for piece in answer.iter_stream():
                    got += piece
                    if len(got) >= max_answer_bytes:
                        break
            return Answer(answer.status, _retry_after_s(answer), bytes(got[:max_answer_bytes]))

    @contextlib.contextmanager
    def _exchange(
        self, method: str, url: str, deadline: Deadline, headers: Mapping[str, str], body: bytes
    ) -> Iterator[httpcore.Response]:
        """One request on one new connection; httpcore's errors become ours."""
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
                ) as answer,
            ):
                yield answer
        except (httpcore.NetworkError, httpcore.ProtocolError):
            # What the far side sent may be anybody's secret: nothing of it goes into the detail.
            raise InputNotFound("The server's answer broke off or is not valid HTTP(S)") from None


def _photo_bytes(answer: httpcore.Response, max_bytes: int) -> bytes:
    if answer.status != 200:
        raise InputNotFound(f"The server answered with status {answer.status}")
    if (_header(answer, b"content-encoding") or "identity").lower() != "identity":
        raise InputNotFound("The server sent the photo compressed, which it was asked not to do")
    promised = _header(answer, b"content-length") or ""
    if promised.isdecimal() and int(promised) > max_bytes:
        raise InputTooLarge(f"The file is larger than {max_bytes} bytes")
    got = bytearray()
    for piece in answer.iter_stream():
        got += piece
        if len(got) > max_bytes:
            raise InputTooLarge(f"The file is larger than {max_bytes} bytes")
    return bytes(got)


def _redirect_target(url: str, answer: httpcore.Response) -> str:
    location = _header(answer, b"location")
    if not location:
        raise InputNotFound("The server redirects to nowhere")
    try:
        return urljoin(url, location)
    except ValueError:
        raise InputForbidden("The server redirects to something that is not a valid URL") from None


def _header(answer: httpcore.Response, name: bytes) -> str | None:
    """Return the first header of that name; bytes that are no ASCII are kept as Latin-1."""
    for key, value in answer.headers:
        if key.lower() == name:
            return value.decode("latin-1").strip()
    return None


def _retry_after_s(answer: httpcore.Response) -> float | None:
    """Return seconds from now, from either form of ``Retry-After`` (RFC 9110 §10.2.3)."""
    value = _header(answer, b"retry-after") or ""
    if value.isascii() and value.isdecimal():
        return float(value[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
