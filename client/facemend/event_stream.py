"""Parse server-sent events (WHATWG HTML, 9.2.6) from pieces of text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Message:
    id: str
    event: str
    data: str


@dataclass
class EventParser:
    """Give it pieces; it yields the messages that are complete.

    ``retry_s``: seconds after which to connect again. ``last_id``: of the last message with one.
    """

    last_id: str = ""
    retry_s: float = 2.0
    _rest: str = ""
    _event: str = ""
    _data: list[str] = field(default_factory=list)

    def feed(self, piece: str) -> Iterator[Message]:
        *lines, self._rest = (self._rest + piece).replace("\r\n", "\n").split("\n")
        for line in lines:
            if line:
                self._field(line)
            elif message := self._end():
                yield message

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id":
            self.last_id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_s = int(value) / 1000

    def _end(self) -> Message | None:
        data, event = "\n".join(self._data), self._event
        self._data, self._event = [], ""
        return Message(self.last_id, event or "message", data) if data else None
