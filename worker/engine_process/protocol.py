"""Messages between the worker and its engine child: small JSON, and open files that travel along.

The sockets keep messages whole, and the death of one side is the end of the stream for the other.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from shared import errors
from shared.errors import FacemendError, Internal

_MAX_BYTES = 131_072  # below what the kernel takes as one message
_MAX_FILES = 2
_ERRORS: dict[str, type[FacemendError]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, FacemendError)
}


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends; whoever gets one, closes it."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(to: socket.socket, message: Mapping[str, Any], files: Sequence[int] = ()) -> None:
    """Raises OSError when the other side is gone. ``files`` stay open here too."""
    socket.send_fds(to, [json.dumps(message).encode()], files)


def receive(source: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The next message and its files; None: the other side is gone. Raises TimeoutError."""
    try:
        data, files, _, _ = socket.recv_fds(source, _MAX_BYTES, _MAX_FILES, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        return None, []
    return (json.loads(data), files) if data else (None, files)


def is_over(source: socket.socket) -> bool:
    """Whether the other side has said its last word; it never says another one here."""
    try:
        return not source.recv(1, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def close(files: Sequence[int]) -> None:
    """Files that came with a message and that nobody takes."""
    for file in files:
        os.close(file)


def told(error: FacemendError) -> dict[str, str]:
    """An error as a message."""
    return {"kind": type(error).__name__, "detail": error.detail}


def heard(content: Mapping[str, str]) -> FacemendError:
    """The error that the other side told of."""
    return _ERRORS.get(content["kind"], Internal)(content["detail"])
