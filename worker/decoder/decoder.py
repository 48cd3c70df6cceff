"""Photos read at a safe distance: what the ending of a decoder child means for its photo."""

from __future__ import annotations

import logging
import os
import signal
import threading
from dataclasses import asdict
from typing import Self

from shared.errors import CorruptImage, Internal, Unavailable
from worker.decoder import result_file as parcel
from worker.decoder.fork_server import Ending, Nursery
from worker.decoder.result_file import Decoded
from worker.decoder.sandbox import Bounds
from worker.imaging.limits import Limits

_log = logging.getLogger(__name__)
_READ = "worker.imaging.decode:decode"


class Decoder:
    """Reads photos in confined processes, a few at once; safe to call from many threads."""

    def __init__(
        self,
        limits: Limits,
        *,
        bounds: Bounds = Bounds(),  # noqa: B008  # frozen
        at_once: int | None = None,
        read: str = _READ,
    ) -> None:
        """Nothing runs before ``start`` or the first ``decode``.

        ``at_once``: photos read at the same time, others wait (None: one a processor of ours).
        ``read``: ``module:function`` like ``worker.imaging.decode.decode``, called in the child.
        """
        self._limits, self._bounds = limits, bounds
        self._slots = threading.BoundedSemaphore(at_once or len(os.sched_getaffinity(0)))
        orders = {"limits": asdict(limits), "bounds": asdict(bounds), "read": read}
        self._nursery = Nursery(orders, bounds.patience_s)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Of the nursery, parent of all decoder children; None while it does not run."""
        return self._nursery.pid

    def start(self) -> None:
        """Be ready for the first photo. Raises Unavailable when this machine cannot read any."""
        self._nursery.start()
        if not self._nursery.filtered:
            _log.warning("no filter of system calls here: decoders are held by limits alone")

    def close(self) -> None:
        """End all of its processes."""
        self._nursery.close()

    def decode(self, data: bytes) -> Decoded:
        """Read the first frame, upright; who asked closes the answer.

        Raises what ``worker.imaging.decode.decode`` raises; CorruptImage also for a photo on which
        the decoder dies or does not come to an end; Unavailable where that was not the photo's
        doing, so that it may go well later; Internal for a mistake of ours.
        """
        self._limits.require_bytes(len(data))
        try:
            return self._decode(data)
        except Internal as error:  # what went wrong with us is for our log alone
            _log.error("the decoder made a mistake: %s", error.detail)  # no stack here
            raise Internal from None
        except OSError as error:  # no memory, no descriptor left
            raise Unavailable(f"there is no room to decode the photo: {error}") from None

    def _decode(self, data: bytes) -> Decoded:
        photo = parcel.memory_file("photo")
        try:
            parcel.write(photo, data)
            parcel.seal(photo)
            return self._read(photo)
        finally:
            os.close(photo)

    def _read(self, photo: int) -> Decoded:
        answer = parcel.memory_file("pixels")
        try:
            with self._slots:
                ending = self._nursery.read(photo, answer)
            self._judge(ending)
            parcel.seal(answer)
            return Decoded(answer)
        except BaseException:
            os.close(answer)
            raise

    def _judge(self, ending: Ending) -> None:
        """Raise unless the child came to an end of its own."""
        if ending.exit_code == 0:
            return
        name = signal.Signals(-ending.exit_code).name if ending.exit_code < 0 else "no signal"
        _log.warning("decoder child ended by %s after %.1f s of CPU", name, ending.cpu_s)
        if ending.exit_code > 0:
            raise Internal(f"the decoder child left with {ending.exit_code}")
        if ending.starved:
            raise Unavailable("the machine was too busy to decode the photo")
        late = ending.overdue or ending.cpu_s >= self._bounds.cpu_s
        if late or ending.exit_code == -signal.SIGXCPU:
            raise CorruptImage("the photo cannot be decoded in time")
        if ending.exit_code == -signal.SIGKILL:
            raise Unavailable("the decoder was killed from outside, as when memory runs out")
        raise CorruptImage(f"the photo crashes the decoder ({name})")
