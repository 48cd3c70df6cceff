"""One decoder child: it confines itself, decodes one photo, writes the result file and exits."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from shared.errors import CorruptImage, FacemendError, Internal
from worker.decoder import decoded_photo, memory_file, sandbox
from worker.decoder.photo_arrays import write_photo
from worker.decoder.sandbox import DecodeBounds
from worker.decoder.seccomp import SyscallFilter
from worker.imaging.decode import Photo
from worker.imaging.limits import Limits

Decode = Callable[[bytes, Limits], Photo]

_MAX_BYTES_PER_PIXEL = 12  # RGB and alpha with 8 bits, and the same with 16
_MAX_ADDED_BYTES = 1_000_000  # colour profile and resolution, put into the file that came


@dataclass(frozen=True, slots=True)
class DecoderChild:
    """What every decoder child does. ``syscall_filter`` None: the kernel accepts no filter."""

    decode: Decode
    limits: Limits
    bounds: DecodeBounds
    syscall_filter: SyscallFilter | None

    def run(self, fork_server_pid: int, photo: int, result: int) -> int:
        """Decode the memory file ``photo`` into the memory file ``result``; return the exit code.

        An error of the photo or of the decoder is written into ``result`` in place of the pixels.
        """
        size = os.fstat(photo).st_size
        self.confine(fork_server_pid, photo, result)
        try:
            write_photo(self.decode(memory_file.read(photo, size), self.limits), result)
        except FacemendError as error:
            decoded_photo.write_error(result, error)
        except MemoryError:
            megabytes = self.bounds.memory_bytes // 1_000_000
            too_large = CorruptImage(f"it takes over {megabytes} MB to decode")
            decoded_photo.write_error(result, too_large)
        except Exception as error:  # noqa: BLE001  # goes to the log of the worker
            decoded_photo.write_error(result, Internal(_kind_and_place(error)))
        return 0

    def confine(self, fork_server_pid: int, *keep_open: int) -> None:
        """Give up every right and every descriptor but these. Raises OSError."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        sandbox.close_all_but(*keep_open)
        pixel_bytes = _MAX_BYTES_PER_PIXEL * self.limits.max_pixels
        beside_bytes = decoded_photo.MAX_ICC_BYTES + self.limits.max_bytes + _MAX_ADDED_BYTES
        max_result_bytes = decoded_photo.HEAD_BYTES + pixel_bytes + beside_bytes
        sandbox.confine(
            fork_server_pid,
            self.bounds,
            max_result_bytes,
            self.syscall_filter,
            threads=self.limits.phone_formats,  # libde265 decodes HEIC in a thread of its own
        )


def _kind_and_place(error: BaseException) -> str:
    """Describe a bug without the error's message, which may contain parts of the photo."""
    places = [
        f"{frame.f_code.co_name}:{line}" for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    return f"{type(error).__name__} in {' > '.join(places)}"
