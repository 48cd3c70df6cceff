"""The nursery from the inside: loads the decoder once, then forks a child for each photo.

It never looks at a photo itself. One thread, one loop: a request comes with the photo's memory
file, an empty one for the answer, and a socket on which the child's end is told. When its owner is
gone, so is the nursery, and with it every child.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from shared.errors import CorruptImage, FacemendError, Internal
from worker.decoder import parcel, sandbox, warming
from worker.decoder.pixels import pack
from worker.decoder.sandbox import Bounds
from worker.decoder.seccomp import Filter
from worker.engine import Limits, Photo

Read = Callable[[bytes, Limits], Photo]

_TICK_S = 0.1
_STARVED = 0.5  # of its time waiting for a processor
_BYTES_A_PIXEL = 12  # 8 bits RGB and alpha, and the same with 16


def main(orders: Mapping[str, Any]) -> None:
    """Serve until the owner's end of the control socket is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=orders["control"])
    with suppress(OSError):  # the first to go when memory runs out
        Path("/proc/self/oom_score_adj").write_text("1000")
    module, _, name = orders["read"].partition(":")
    cradle = _Cradle(
        read=getattr(importlib.import_module(module), name),
        limits=Limits(**orders["limits"]),
        bounds=Bounds(**orders["bounds"]),
        allowed=_filter_in_force(),
    )
    failed = cradle.rehearse()
    if failed:
        said = {"error": f"a {failed} photo cannot be read in the sandbox of this machine"}
    else:
        said = {"filtered": cradle.allowed is not None}
    control.send(json.dumps(said).encode())
    if not failed:
        _Loop(control, cradle).run()


@dataclass(frozen=True, slots=True)
class _Cradle:
    """What each child is born with."""

    read: Read
    limits: Limits
    bounds: Bounds
    allowed: Filter | None

    def rehearse(self) -> str | None:
        """Read one photo of each kind, here and then confined; the kind that fails there, or None.

        What Pillow loads late is loaded here, for a child finds no file to load it from.
        """
        samples = warming.samples()
        for data in samples.values():
            decode(data, self.limits)
        nursery, pid = os.getpid(), os.fork()
        if pid == 0:
            _leave_after(lambda: self._rehearse_confined(nursery, samples))
        _, status = os.waitpid(pid, 0)
        return None if status == 0 else "some"

    def hatch(self, nursery: int, photo: int, answer: int) -> None:
        """Be the child: read the photo, confined, and write what came of it."""
        size = os.fstat(photo).st_size
        self._confine(nursery, photo, answer)
        try:
            pack(self.read(_whole(photo, size), self.limits), answer)
        except FacemendError as error:
            parcel.write_error(answer, error)
        except MemoryError:
            megabytes = self.bounds.memory_bytes // 1_000_000
            parcel.write_error(answer, CorruptImage(f"it takes more than {megabytes} MB to decode"))
        except Exception as error:  # noqa: BLE001  # told to the owner's log
            parcel.write_error(answer, Internal(_where(error)))
