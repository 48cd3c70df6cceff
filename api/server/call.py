"""A call of the WSGI application, in a thread: the head of its answer and a part of the body."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from flask import Flask

from api.jobs.event_stream import EventStream
from api.jobs.long_poll import JobWait

#: Of an answer's body at a time: more waits in its file until the client has read what went before.
PART_BYTES = 65_536

Headers = list[tuple[bytes, bytes]]


@dataclass
class Answer:
    """``first``: the begin of the body, or all of it if ``ended``. Has to be closed."""

    status: int
    headers: Headers
    body: Iterable[bytes]
    first: bytes = b""
    ended: bool = False
    open: bool = True

    def next_part(self) -> bytes:
        """Up to about ``PART_BYTES`` of the body; empty at its end."""
        if not hasattr(self, "_pieces"):
            self._pieces: Iterator[bytes] = iter(self.body)
        found: list[bytes] = []
        size = 0
        while size < PART_BYTES:
            piece = next(self._pieces, None)
            if piece is None:
                self.ended = True
                break
            found.append(piece)
            size += len(piece)
        return found[0] if len(found) == 1 else b"".join(found)

    def close(self) -> None:
        """Close the body, as PEP 3333 asks."""
        self.open = False
        if hasattr(self.body, "close"):
            self.body.close()


def call(app: Flask, environ: dict[str, Any]) -> Answer:
    """Call ``app``; what it does not foresee is for the caller to handle."""
    said: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        said[:] = [int(status[:3]), headers]
        return None  # nobody writes beside the iterable

    body = app(environ, start_response)
    status, headers = said
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    answer = Answer(status, encoded, body)
    if not isinstance(body, EventStream | JobWait):
        try:
            answer.first = answer.next_part()
        except BaseException:
            answer.close()
            raise
        if answer.ended:
            answer.close()
    return answer
