"""What a sandbox needs of the kernel beyond Python's own doors."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

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


def fork(life: Callable[[], int]) -> int:
    """Start a child whose whole life is this, up to its exit code; answers its pid."""
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            code = life()
        finally:
            os._exit(code)
    return pid


def exit_code_of(pid: int) -> int:
    """Wait for a child; negative: the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
