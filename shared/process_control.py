"""Control of child processes on Linux: fork, die with the parent, exit status in words.

Standard library only, because this file is also a script: it starts a program that dies with the
caller, as ``python -I -S process_control.py PARENT_PID PROGRAM [ARGUMENT …]``.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# Numbers of prctl(2), from linux/prctl.h.
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
_MAX_OOM_SCORE = "1000"


def prctl(option: int, value: int, address: int = 0) -> None:
    """Set an attribute of this process in the kernel. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (ctypes.c_ulong(each) for each in (value, address, 0, 0))
    if libc.prctl(option, *arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def die_with_parent(parent_pid: int, death_signal: int = signal.SIGKILL) -> None:
    """Have the kernel send ``death_signal`` to this process when its parent dies.

    The parent is the thread that started this process. Does nothing where there is no Linux. Raises
    OSError, and ProcessLookupError if the parent is already dead.
    """
    if sys.platform != "linux":
        return
    prctl(PR_SET_PDEATHSIG, death_signal)
    if os.getppid() != parent_pid:
        raise ProcessLookupError("the parent process is already dead")


def command_that_dies_with_us(command: list[str]) -> list[str]:
    """Return a command line that runs ``command`` and gets SIGTERM when this process dies.

    The preexec_fn of subprocess would be shorter, but is unsafe in a process with threads.
    """
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def be_first_to_be_killed_for_memory() -> None:
    """Have the kernel end this process before others when the machine is out of memory."""
    with suppress(OSError):  # /proc may be read-only
        Path("/proc/self/oom_score_adj").write_text(_MAX_OOM_SCORE)


def fork(run: Callable[[], int]) -> int:
    """Fork a child that calls ``run`` and exits with its result. Returns the child's pid."""
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            code = run()
        finally:
            os._exit(code)
    return pid


def wait_for_exit(pid: int) -> int:
    """Wait for a child; returns its exit code, or the negative number of the signal it died of."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def exit_in_words(code: int) -> str:
    """Describe an exit code; a negative one is the number of a signal."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def import_path() -> list[str]:
    """Return ``sys.path`` for a child process, as it is when no thread imports cv2.

    While cv2 is being imported, its own folder is in ``sys.path``, with a ``typing`` that hides
    that of the standard library.
    """
    path = list(sys.path)
    if "cv2" in sys.modules:
        importlib.import_module("cv2")  # waits for the import by another thread
        path = list(sys.path)
    return path


def _main() -> None:
    parent_pid, *command = sys.argv[1:]
    try:
        die_with_parent(int(parent_pid), signal.SIGTERM)
    except ProcessLookupError as error:
        sys.exit(str(error))
    os.execvpe(command[0], command, os.environ)  # noqa: S606  # no shell wanted


if __name__ == "__main__":
    _main()
