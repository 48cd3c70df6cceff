"""The protocol between the worker and its engine process: small JSON messages with open files.

Each message is one packet. When one side dies, the other side reads the end of the stream.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared import errors
from shared.errors import FacemendError, Internal
from shared.jobs.job import Kind

_MAX_BYTES = 131_072  # below the largest packet that the kernel accepts
_MAX_FILES = 2
_ERRORS: dict[str, type[FacemendError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, FacemendError)
}


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """A job for the engine process. ``options`` and ``output`` are those of the API request.

    ``kind`` is a value of ``shared.jobs.job.Kind``; of a detection, ``options`` and ``output`` are
    empty. ``faces_found``: the faces that an earlier detection found in the photo, each with
    ``box``, ``landmarks`` and ``score``; without them they are searched.
    ``log_fields`` are on every log line about the job.
    """

    job_id: str
    model: str
    options: dict[str, Any]
    output: dict[str, Any]
    log_fields: dict[str, str] = field(default_factory=dict)
    kind: str = Kind.RESTORATION
    faces_found: list[dict[str, Any]] | None = None


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets; each owner closes its own."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(to: socket.socket, message: Mapping[str, Any], files: Sequence[int] = ()) -> None:
    """Send one message; ``files`` stay open here too. Raises OSError if the other side is gone."""
    socket.send_fds(to, [json.dumps(message).encode()], files)


def receive(source: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Return the next message (None if the other side is gone) and its files.

    Raises TimeoutError.
    """
    try:
        data, files, _, _ = socket.recv_fds(source, _MAX_BYTES, _MAX_FILES, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        return None, []
    return (json.loads(data), files) if data else (None, files)


def is_over(source: socket.socket) -> bool:
    """Return whether the other side has closed its end. For sockets that receive no messages."""
    try:
        return not source.recv(1, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def close_files(files: Sequence[int]) -> None:
    """Close the files of a message that nobody needs."""
    for file in files:
        os.close(file)


def encode_error(error: FacemendError) -> dict[str, str]:
    """Return the error as JSON."""
    return {"kind": type(error).__name__, "detail": error.detail}


def decode_error(content: Mapping[str, str]) -> FacemendError:
    """Return the error that ``encode_error`` encoded; Internal if its kind is unknown."""
    return _ERRORS.get(content["kind"], Internal)(content["detail"])
