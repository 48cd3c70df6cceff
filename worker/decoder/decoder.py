"""The decoder: reads photos in confined processes, and says what the exit of one means."""

from __future__ import annotations

import logging
import os
import signal
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Self

from shared.errors import CorruptImage, Internal, Unavailable
from shared.process_control import exit_in_words
from worker.decoder import memory_file
from worker.decoder.decoded_photo import DecodedPhoto
from worker.decoder.fork_server_client import ChildExit, ForkServerClient
from worker.decoder.sandbox import DecodeBounds
from worker.imaging.limits import Limits

if TYPE_CHECKING:
    from shared.settings import Settings  # with pydantic, which this process may not need

_log = logging.getLogger(__name__)
_DECODE = "worker.imaging.decode:decode"


def photo_limits(settings: Settings) -> Limits:
    """Return the limits of photos that the settings allow."""
    return Limits(
        max_bytes=settings.max_input_bytes,
        max_pixels=settings.max_pixels,
        min_side_px=settings.min_side_px,
        max_side_px=settings.max_side_px,
        max_aspect=settings.max_aspect,
    )


def _processors() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Decoder:
    """Decodes photos in confined processes, several in parallel. Thread-safe."""

    def __init__(
        self,
        limits: Limits,
        *,
        bounds: DecodeBounds = DecodeBounds(),  # noqa: B008  # frozen
        max_parallel: int | None = None,
        decode: str = _DECODE,
    ) -> None:
        """Start nothing yet: ``start`` or the first ``decode`` does.

        ``max_parallel``: photos decoded at the same time; others wait. None: one for each processor
        that this process may use. ``decode``: ``module:function`` with the signature of
        ``worker.imaging.decode.decode``, called in the child.
        """
        self._limits, self._bounds = limits, bounds
        self._slots = threading.BoundedSemaphore(max_parallel or _processors())
        config = {"limits": asdict(limits), "bounds": asdict(bounds), "decode": decode}
        self._fork_server = ForkServerClient(config, bounds.max_wait_s)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The pid of the fork server, the parent of all decoder children; None if it is down."""
        return self._fork_server.pid

    def start(self) -> None:
        """Start the fork server. Raises Unavailable if this machine cannot decode any photo."""
        self._fork_server.start()
        if self._fork_server.gaps:
            _log.warning(
                "decoders are less confined here than on Linux; a harmful photo could %s",
                ", ".join(self._fork_server.gaps),
            )

    def close(self) -> None:
        """End all processes of this decoder."""
        self._fork_server.close()

    def decode(self, data: bytes) -> DecodedPhoto:
        """Decode the first frame, upright. The caller closes the photo.

        Raises what ``worker.imaging.decode.decode`` raises; CorruptImage also for a photo that
        crashes the decoder or takes too long; Unavailable if the cause is not the photo, so that
        another attempt may succeed; Internal for a bug.
        """
        self._limits.require_bytes(len(data))
        try:
            return self._decode(data)
        except Internal as error:  # the cause is for our log, not for the customer
            _log.error("the decoder has a bug: %s", error.detail)  # its stack is in the child
            raise Internal from None
        except OSError as error:  # no memory or no descriptor left
            raise Unavailable(f"there is no room to decode the photo: {error}") from None

    def _decode(self, data: bytes) -> DecodedPhoto:
        photo = memory_file.create("photo")
        try:
            memory_file.write(photo, data)
            memory_file.seal(photo)
            return self._decode_file(photo)
        finally:
            os.close(photo)

    def _decode_file(self, photo: int) -> DecodedPhoto:
        result = memory_file.create("pixels")
        try:
            with self._slots:
                child_exit = self._fork_server.decode(photo, result)
            self._raise_for(child_exit)
            memory_file.seal(result)
            return DecodedPhoto(result)
        except BaseException:
            os.close(result)
            raise

    def _raise_for(self, child_exit: ChildExit) -> None:
        """Raise the error that the exit of the child means, unless it exited by itself."""
        code = child_exit.exit_code
        if code == 0:
            return
        _log.warning(
            "decoder child ended by %s after %.1f s of CPU", exit_in_words(code), child_exit.cpu_s
        )
        if code > 0:
            raise Internal(f"the decoder child left with {code}")
        if child_exit.starved:
            raise Unavailable("the machine was too busy to decode the photo")
        late = child_exit.overdue or child_exit.cpu_s >= self._bounds.cpu_s
        if late or code == -signal.SIGXCPU:
            raise CorruptImage(f"decoding the photo takes more than {self._bounds.cpu_s} s")
        if code == -signal.SIGKILL:
            raise Unavailable("the decoder was killed from outside, as when memory runs out")
        raise CorruptImage(f"the photo crashes the decoder ({exit_in_words(code)})")
