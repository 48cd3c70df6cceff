"""What the kernel is told of the engine child before anything else happens in it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_FIRST_VICTIM = "1000"


def tether(parent: int) -> None:
    """Die with the parent, leave no core dump, and be the first to go when memory is short.

    The parent alone decides when this process ends: signals to the whole group are not heard.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the worker is gone already")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # a /proc that cannot be written to
        Path("/proc/self/oom_score_adj").write_text(_FIRST_VICTIM)
