"""The one system call that Python does not offer and a sandbox needs."""

from __future__ import annotations

import ctypes
import os

SET_PDEATHSIG = 1
SET_DUMPABLE = 4
SET_SECCOMP = 22
SET_NO_NEW_PRIVS = 38


def prctl(option: int, value: int, address: int = 0) -> None:
    """Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    rest = (ctypes.c_ulong(each) for each in (value, address, 0, 0))
    if libc.prctl(option, *rest) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
