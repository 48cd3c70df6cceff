"""A device that this process has lost works again only in a new process."""

from __future__ import annotations

import logging
import os

_log = logging.getLogger(__name__)
EXIT_DEVICE_BROKEN = 70
_BROKEN_DEVICE = ("CUDA error", "CUDA failure", "HIP error")


def exit_if_device_is_broken(error: BaseException | None) -> None:
    """Exit if this process has lost the device: a new process gets it back."""
    while error is not None:
        words = str(error)
        if any(sign in words for sign in _BROKEN_DEVICE) and "out of memory" not in words:
            _log.error("the device is lost to this process")
            os._exit(EXIT_DEVICE_BROKEN)
        error = error.__cause__
