"""The sandbox of a decoder child: what it cannot do, even if a photo takes it over.

| the child cannot              | because of                                                    |
|-------------------------------|---------------------------------------------------------------|
| open a file or a socket       | a limit of 0 descriptors; the system call filter              |
| start a process or a thread   | the system call filter; a limit of 0 processes                |
| fill the memory               | limits on address space and on file size                      |
| run for long                  | a limit on CPU time; the fork server's limit on elapsed time  |
| gain rights, or be inspected  | no_new_privs; user nobody, if we are root; not dumpable       |
| outlive the fork server       | the parent-death signal                                       |

All of this is there on Linux only. ``gaps`` says what another system, or a kernel without system
call filters, does not confine.
"""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shared import process_control
from worker.decoder.seccomp import SyscallFilter

_NOBODY = 65_534
_DESCRIPTORS = "/dev/fd"  # on Linux a link to /proc/self/fd
_FIRST_OF_OURS = 3  # after stdin, stdout and stderr


@dataclass(frozen=True, slots=True)
class DecodeBounds:
    """What one photo may use: memory beyond the fork server's own, CPU time, elapsed time.

    ``wall_s`` does not count the time in which the child waits for a processor, up to
    ``max_wait_s``.
    """

    memory_bytes: int = 1 << 30
    cpu_s: int = 5
    wall_s: float = 5.5

    @property
    def max_wait_s(self) -> float:
        """Elapsed time after which the child is ended, even if it got no processor."""
        return 4 * self.wall_s


def gaps(syscall_filter: SyscallFilter | None) -> tuple[str, ...]:
    """Return in words what a child could do here if a photo took it over."""
    found = []
    if syscall_filter is None:
        found.append("use every system call that needs no new descriptor and no new process")
    if sys.platform != "linux":
        found += [
            "fill the memory",
            "read the descriptors of its user",
            "outlive a process that was killed",
        ]
    return tuple(found)


def close_all_but(*keep_open: int) -> None:
    """Close every other descriptor, and send standard output and error to /dev/null."""
    os.dup2(1, 2)  # the fork server's standard output is /dev/null
    for entry in list(Path(_DESCRIPTORS).iterdir()):
        fd = int(entry.name)
        if fd >= _FIRST_OF_OURS and fd not in keep_open:
            with suppress(OSError):  # the descriptor that listed the folder is closed already
                os.close(fd)


def confine(
    fork_server_pid: int,
    bounds: DecodeBounds,
    max_result_bytes: int,
    syscall_filter: SyscallFilter | None,
    *,
    threads: bool = False,
) -> None:
    """Give up every right of this process; there is no way back. Raises OSError.

    ``fork_server_pid``: the parent, whose death ends this process; it must have one thread.
    ``max_result_bytes``: the largest size of the one file that may be written.
    ``syscall_filter`` None: the kernel accepts no filter. ``threads``: this process may start
    threads, if the filter keeps it from starting processes.
    """
    _limit(bounds, max_result_bytes, may_start_threads=threads and syscall_filter is not None)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(_NOBODY)  # root changes real, effective and saved ids
        os.setuid(_NOBODY)
    if sys.platform == "linux":
        process_control.die_with_parent(fork_server_pid)  # after setuid, which resets it
        process_control.prctl(process_control.PR_SET_DUMPABLE, 0)
        process_control.prctl(process_control.PR_SET_NO_NEW_PRIVS, 1)
    if syscall_filter is not None:
        syscall_filter.install()


def _limit(bounds: DecodeBounds, max_result_bytes: int, *, may_start_threads: bool) -> None:
    limits = {
        resource.RLIMIT_FSIZE: max_result_bytes,
        resource.RLIMIT_NOFILE: 0,
        resource.RLIMIT_CORE: 0,
    }
    if sys.platform == "linux":  # other systems do not enforce it
        limits[resource.RLIMIT_AS] = _address_space_bytes() + bounds.memory_bytes
    if not may_start_threads:
        limits[resource.RLIMIT_NPROC] = 0
    for what, limit in limits.items():
        resource.setrlimit(what, (limit, limit))
    # The soft limit sends SIGXCPU, which names the cause; the hard limit sends SIGKILL.
    resource.setrlimit(resource.RLIMIT_CPU, (bounds.cpu_s, bounds.cpu_s + 1))


def _address_space_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
