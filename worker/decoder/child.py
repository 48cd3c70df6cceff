"""A decoder child's life: confined first, then one photo read, then gone."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from shared.errors import CorruptImage, FacemendError, Internal
from worker.decoder import result_file as parcel
from worker.decoder import sample_photos as warming
from worker.decoder import sandbox
from worker.decoder.kernel import exit_code_of, fork
from worker.decoder.pixels import pack
from worker.decoder.sandbox import Bounds
from worker.decoder.seccomp import Filter
from worker.imaging.decode import Photo, decode
from worker.imaging.limits import Limits

Read = Callable[[bytes, Limits], Photo]

_BYTES_A_PIXEL = 12  # RGB and alpha with 8 bits, and the same with 16


@dataclass(frozen=True, slots=True)
class Cradle:
    """What each child is born with. ``allowed`` None: no filter of system calls."""

    read: Read
    limits: Limits
    bounds: Bounds
    allowed: Filter | None

    def rehearse(self) -> str | None:
        """Read a photo of each kind, here and then confined; answer the kind that fails there.

        What Pillow loads late is loaded here, for a child finds no file to load it from.
        """
        photos = warming.photos()
        for data in photos.values():
            decode(data, Limits())
        nursery = os.getpid()
        code = exit_code_of(fork(lambda: self._rehearse_confined(nursery, photos)))
        if code == 0:
            return None
        return f"a {tuple(photos)[code - 1]} photo" if 0 < code <= len(photos) else "any photo"

    def hatch(self, nursery: int, photo: int, answer: int) -> int:
        """In the child: read the photo and write what came of it; answer the exit code."""
        size = os.fstat(photo).st_size
        self._confine(nursery, photo, answer)
        try:
            pack(self.read(_whole(photo, size), self.limits), answer)
        except FacemendError as error:
            parcel.write_error(answer, error)
        except MemoryError:
            megabytes = self.bounds.memory_bytes // 1_000_000
            parcel.write_error(answer, CorruptImage(f"it takes over {megabytes} MB to decode"))
        except Exception as error:  # noqa: BLE001  # told to the owner's log
            parcel.write_error(answer, Internal(_where(error)))
        return 0

    def _rehearse_confined(self, nursery: int, photos: Mapping[str, bytes]) -> int:
        self._confine(nursery)
        for number, data in enumerate(photos.values(), start=1):
            try:
                decode(data, Limits())
            except Exception:  # noqa: BLE001  # of whatever kind, the sandbox is too narrow
                return number
        return 0

    def _confine(self, nursery: int, *fds: int) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        sandbox.keep_only(*fds)
        most = parcel.HEAD_BYTES + _BYTES_A_PIXEL * self.limits.max_pixels + parcel.MAX_ICC_BYTES
        sandbox.confine(nursery, self.bounds, most, self.allowed)


def _whole(photo: int, size: int) -> bytes:
    parts, at = [], 0
    while at < size:
        parts.append(os.pread(photo, size - at, at))
        at += len(parts[-1])
    return b"".join(parts)


def _where(error: BaseException) -> str:
    """Kind and place of a mistake, without its words: they may hold parts of the photo."""
    places = [
        f"{frame.f_code.co_name}:{line}" for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    return f"{type(error).__name__} in {' > '.join(places)}"
