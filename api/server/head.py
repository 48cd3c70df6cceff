"""The head of a request: what h11 lets through and HTTP or we do not, and its WSGI environment."""

from __future__ import annotations

import io
import ipaddress
import re
import sys
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

import h11

from shared.errors import HeadersTooLong, MalformedRequest, NotFound, TargetTooLong

MAX_TARGET_BYTES, MAX_HEADERS = 8_000, 100
#: All of a head; h11 refuses more while the head is not complete.
MAX_HEAD_BYTES = 32_768

#: An IPv6 address, or a name or IPv4 address; then the port (RFC 9110, 7.2; RFC 3986, 3.2.2).
_HOST = re.compile(
    rb"(?:\[([0-9A-Fa-f:.]+)\]|(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})+)(?::(\d{0,5}))?"
)
#: No protocol is offered to change to, so the request is served as it is (RFC 9110, 7.8).
_IGNORED = frozenset({"HTTP_UPGRADE"})
_MAX_PORT = 65_535
_TARGET = re.compile(rb"https?://[^/?#]+", re.IGNORECASE)


def check_head(head: h11.Request) -> None:
    """Raises MalformedRequest, HeadersTooLong, TargetTooLong."""
    if head.http_version not in {b"1.0", b"1.1"}:
        raise MalformedRequest("The HTTP version is not 1.0 or 1.1.")
    if head.method != head.method.upper():
        raise MalformedRequest("The method is not in capital letters.")
    _check_size(head)
    fields = dict(head.headers)  # Host and the framing occur once: h11 sees to that
    if b"host" in fields and not _is_host(fields[b"host"]):
        raise MalformedRequest("The header field Host is not valid.")
    if b"transfer-encoding" in fields and (
        head.http_version == b"1.0" or b"content-length" in fields
    ):
        raise MalformedRequest("The length of the body is not clear.")  # RFC 9112, 6.1


def _check_size(head: h11.Request) -> None:
    if len(head.target) > MAX_TARGET_BYTES:
        raise TargetTooLong(f"The address may have {MAX_TARGET_BYTES} bytes.")
    if len(head.headers) > MAX_HEADERS:
        raise HeadersTooLong(f"A request may have {MAX_HEADERS} header fields.")
    if sum(len(name) + len(value) for name, value in head.headers) > MAX_HEAD_BYTES:
        raise HeadersTooLong(f"The header fields may have {MAX_HEAD_BYTES} bytes.")


def has_body(head: h11.Request) -> bool:
    """Whether the head announces a body."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and int(value) > 0)
        for name, value in head.headers
    )


def declared_bytes(head: h11.Request) -> int | None:
    """The announced length of the body; None for a chunked one."""
    return next((int(value) for name, value in head.headers if name == b"content-length"), None)


def environ_of(head: h11.Request, peer: str, server: tuple[str, int]) -> dict[str, Any]:
    """The WSGI environment (PEP 3333), without a body. Raises MalformedRequest."""
    if b"#" in head.target:
        raise MalformedRequest("The request target has a fragment.")
    path, _, query = _path(head).partition(b"?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": head.method.decode("ascii"),
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "REQUEST_URI": head.target.decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": f"HTTP/{head.http_version.decode('ascii')}",
        "REMOTE_ADDR": peer,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    environ.update(_variables(head.headers))
    return environ


def check_path(environ: dict[str, Any]) -> None:
    """Raises NotFound for a path that begins with two slashes: the routes would ignore one.

    Proxies that allow some paths only compare them as they are.
    """
    if environ["PATH_INFO"].startswith("//"):
        raise NotFound("No path begins with two slashes.")


def _is_host(value: bytes) -> bool:
    found = _HOST.fullmatch(value)
    if found is None or int(found[2] or 0) > _MAX_PORT:
        return False
    try:
        ipaddress.IPv6Address((found[1] or b"::").decode("ascii"))
    except ValueError:
        return False
    return True


def _path(head: h11.Request) -> bytes:
    """The path of the target (RFC 9112, 3.2), with its query."""
    if head.target.startswith(b"/"):
        return head.target
    if head.target == b"*" and head.method == b"OPTIONS":
        return b"/"
    if found := _TARGET.match(head.target):
        rest = head.target[found.end() :]
        return rest if rest.startswith(b"/") else b"/" + rest
    raise MalformedRequest("The request target is no path.")


def _variables(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        if b"_" in name:
            continue  # as a variable it could not be told from the one with a hyphen
        key = name.decode("ascii").upper().replace("-", "_")
        key = key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"
        if key in _IGNORED:
            continue
        text = value.decode("latin-1")
        if key in found:
            text = f"{found[key]}{';' if key == 'HTTP_COOKIE' else ','} {text}"
        found[key] = text
    return found
