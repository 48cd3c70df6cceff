"""What a decoder child may not do, whatever the file makes of it. Linux.

| it cannot                     | because of                                              |
|-------------------------------|---------------------------------------------------------|
| open a file or a socket       | no descriptor is to be had; the filter of system calls  |
| start a process or a thread   | the filter; the limit on processes                      |
| fill the memory               | limits on address space and on the size of files        |
| stay                          | limits on its CPU time and, by its nursery, on its stay |
| get rights, or be looked into | no_new_privs; nobody, where we are root; not dumpable   |
| outlive its nursery           | the parent-death signal                                 |
"""

from __future__ import annotations

import os
import resource
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from worker.decoder import kernel
from worker.decoder.seccomp import Filter

_NOBODY = 65_534
_FIRST_OF_OURS = 3  # after stdin, stdout and stderr


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one photo may take: address space beyond the nursery's own, CPU time, time in all.

    Time in which it waits for a processor is not counted, up to ``patience_s``.
    """

    memory_bytes: int = 1 << 30
    cpu_s: int = 5
    wall_s: float = 5.5

    @property
    def patience_s(self) -> float:
        return 4 * self.wall_s


def keep_only(*fds: int) -> None:
    """Close all else; standard output and error lead nowhere from here on."""
    os.dup2(1, 2)  # the nursery's standard output is /dev/null
    for entry in list(Path("/proc/self/fd").iterdir()):
        fd = int(entry.name)
        if fd >= _FIRST_OF_OURS and fd not in fds:
            with suppress(OSError):  # the one that the list was read through
                os.close(fd)


def confine(nursery: int, bounds: Bounds, parcel_bytes: int, allowed: Filter | None) -> None:
    """Give up everything; there is no way back. Raises OSError.

    ``nursery`` is the process, of one thread, not to outlive; ``parcel_bytes`` the most that the
    one file may hold which is to be written; ``allowed`` None: the kernel takes no filter.
    """
    _limit(bounds, parcel_bytes)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    kernel.prctl(kernel.SET_PDEATHSIG, signal.SIGKILL)  # a change of user forgets it
    if os.getppid() != nursery:
        raise ProcessLookupError("the nursery is gone already")
    kernel.prctl(kernel.SET_DUMPABLE, 0)
    kernel.prctl(kernel.SET_NO_NEW_PRIVS, 1)
    if allowed is not None:
        allowed.install()


def _limit(bounds: Bounds, parcel_bytes: int) -> None:
    limits = {
        resource.RLIMIT_AS: _address_space_bytes() + bounds.memory_bytes,
        resource.RLIMIT_FSIZE: parcel_bytes,
        resource.RLIMIT_NOFILE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_CORE: 0,
    }
    for what, most in limits.items():
        resource.setrlimit(what, (most, most))
    # the first is a signal that says what happened, the second one that cannot be caught
    resource.setrlimit(resource.RLIMIT_CPU, (bounds.cpu_s, bounds.cpu_s + 1))


def _address_space_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
