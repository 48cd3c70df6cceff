"""From requests of the operations to those of httpx, and from its errors to ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from facemend.errors import Unreachable
from facemend.photo import opened
from facemend.steps import Request

_CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class Service:
    """Where the service is. The key is sent to it, and to no other address."""

    base_url: str
    api_key: str
    timeout: httpx.Timeout

    @classmethod
    def at(cls, base_url: str, api_key: str, timeout_s: float) -> Service:
        """Check the address. Raises ValueError."""
        url = httpx.URL(base_url)
        if url.scheme not in {"http", "https"} or not url.host:
            raise ValueError(f"{base_url!r} is no address of a service, such as https://host:8000")
        if not api_key.isascii() or not api_key.isprintable() or not api_key.strip():
            raise ValueError("the API key is not valid; it starts with fm_live_")
        timeout = httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_S))
        return cls(base_url.rstrip("/"), api_key.strip(), timeout)

    def arguments(self, request: Request, stack: ExitStack) -> dict[str, Any]:
        """Return the arguments of httpx's ``stream``. The photo is open until ``stack`` ends.

        Raises OSError if the photo cannot be read.
        """
        headers = dict(request.headers)
        if own := request.url.startswith("/"):
            headers["Authorization"] = f"Bearer {self.api_key}"
        given: dict[str, Any] = {
            "method": request.method,
            "url": self.base_url + request.url if own else request.url,
            "headers": headers,
            "timeout": self.timeout,
        }
        if request.params:
            given["params"] = dict(request.params)
        if request.read_s is not None:
            given["timeout"] = httpx.Timeout(
                connect=self.timeout.connect,
                read=request.read_s,
                write=self.timeout.write,
                pool=self.timeout.pool,
            )
        if request.json is not None:
            given["json"] = request.json
        if request.photo is not None:
            # A fixed name: that of a photo may be private, and need not be text.
            file = stack.enter_context(opened(request.photo))
            given["data"] = dict(request.form)
            given["files"] = {request.photo_part: ("photo", file, request.photo_type)}
        return given


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of the connection into Unreachable."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise Unreachable(f"no answer in time ({type(error).__name__})") from error
    except httpx.TransportError as error:
        lasting = isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError)
        raise Unreachable(str(error) or type(error).__name__, temporary=not lasting) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unreachable(str(error), temporary=False) from error
