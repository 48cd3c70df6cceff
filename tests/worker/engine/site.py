"""A web server with one large file; a test can make it interrupt, refuse or lie."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """The file of the server, its faults, and the requests that it received."""

    data: bytes
    etag: str | None = '"one"'
    breaks_after: list[int] = field(default_factory=list)  # bytes sent until it hangs up, in turn
    statuses: list[int] = field(default_factory=list)  # answered first
    takes_ranges: bool = True
    lies_about_ranges: bool = False
    asked: list[str | None] = field(default_factory=list)  # Range headers
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        site, wanted = self.site, self.headers.get("Range")
        site.asked.append(wanted)
        tag = {"ETag": site.etag} if site.etag else {}
        if site.statuses:
            self._answer(site.statuses.pop(0), b"", {})
        elif wanted and site.takes_ranges and self.headers.get("If-Range") in {None, site.etag}:
            self._answer_from(int(wanted.removeprefix("bytes=").rstrip("-")), tag)
        else:
            self._answer(200, site.data, tag)

    def _answer_from(self, start: int, headers: dict[str, str]) -> None:
        size = len(self.site.data)
        if start < size:
            shown = start + 5 if self.site.lies_about_ranges else start
            content_range = {"Content-Range": f"bytes {shown}-{size - 1}/{size}"}
            self._answer(206, self.site.data[start:], headers | content_range)
        else:
            self._answer(416, b"", {"Content-Range": f"bytes */{size}"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        breaks = self.site.breaks_after
        with contextlib.suppress(ConnectionError):  # who asked may not want all of it
            self.wfile.write(body[: breaks.pop(0)] if breaks else body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(site: Site) -> Iterator[Site]:
    """Serve at ``site.url`` inside the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"site": site}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    site.url = f"http://127.0.0.1:{server.server_port}/models/big.pth"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
