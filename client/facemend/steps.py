"""What the operations ask for, and the loop that does it, with waiting and without.

An operation is a generator. It yields what it needs from the outside (send a request, sleep, save
a picture) and receives the outcome, so it contains no input or output of its own. ``Client`` and
``AsyncClient`` run the same operations; only the few lines that perform an effect exist twice.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, TypeVar

from facemend.photo import Photo

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request. ``url`` is a path of the service, or an absolute address outside of it.

    The API key is sent to the service only. ``photo`` becomes the last part, named ``photo_part``,
    of a multipart body, after the fields of ``form``.
    """

    method: str
    url: str
    params: Mapping[str, str | int] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    form: Mapping[str, str] = field(default_factory=dict)
    photo: Photo | None = None
    photo_part: str = "image"
    photo_type: str = "application/octet-stream"
    read_s: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; its body is small."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request and read the whole answer. Gives an Answer; raises Unreachable."""

    request: Request


@dataclass(frozen=True, slots=True)
class Save:
    """Write the body of a successful answer to ``file`` in pieces. Gives an Answer without body.

    Raises Unreachable.
    """

    request: Request
    file: IO[bytes]


@dataclass(frozen=True, slots=True)
class Open:
    """Begin to read an answer piece by piece. Gives a Stream; raises Unreachable."""

    request: Request


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer whose body is still to come. ``pieces`` is an iterator of text."""

    status: int
    headers: Mapping[str, str]
    pieces: Any


@dataclass(frozen=True, slots=True)
class Read:
    """The next piece of a stream: text, or None at its end. Raises Unreachable."""

    stream: Stream


@dataclass(frozen=True, slots=True)
class Sleep:
    seconds: float


@dataclass(frozen=True, slots=True)
class Emit:
    """Hand a value to the caller, who reads the operation as an iterator."""

    value: Any


@dataclass(frozen=True, slots=True)
class Together:
    """Run operations, at most ``limit`` at a time. Each reports its own outcome; gives None."""

    operations: Iterable[Callable[[], Steps[None]]]
    limit: int


Effect = Send | Save | Open | Read | Sleep | Emit | Together
Steps = Generator[Effect, Any, T]


def handing_to(callback: Callable[[Any], object], steps: Steps[T]) -> Steps[T]:
    """Run ``steps``, but give the values that it emits to ``callback``."""
    value: Any = None
    failed: Exception | None = None
    while True:
        try:
            effect = steps.send(value) if failed is None else steps.throw(failed)
        except StopIteration as end:
            result: T = end.value
            return result
        value = failed = None
        if isinstance(effect, Emit):
            callback(effect.value)
            continue
        try:
            value = yield effect
        except Exception as error:  # noqa: BLE001  # it belongs to the operation that asked
            failed = error
