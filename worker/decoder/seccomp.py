"""The seccomp filter of a decoder child: a short list of system calls; all others fail with EPERM.

The filter is a classic BPF program that is assembled here, so no library is needed. Its format is
described in linux/seccomp.h and linux/filter.h.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys

from shared import process_control

_MODE_FILTER = 2
_LOAD, _JUMP_IF_EQUAL, _JUMP_IF_SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16  # in struct seccomp_data
_KILL_PROCESS, _FAIL, _ALLOW = 0x8000_0000, 0x0005_0000, 0x7FFF_0000

#: Memory, clocks, the process' own signals and its exit. An open file can be read, written,
#: truncated and closed, but none can be opened.
ALLOWED = {
    "x86_64": {
        "close": 3,
        "mmap": 9,
        "mprotect": 10,
        "munmap": 11,
        "brk": 12,
        "rt_sigaction": 13,
        "rt_sigprocmask": 14,
        "rt_sigreturn": 15,
        "pread64": 17,
        "pwrite64": 18,
        "sched_yield": 24,
        "mremap": 25,
        "madvise": 28,
        "getpid": 39,
        "exit": 60,
        "ftruncate": 77,
        "gettimeofday": 96,
        "sigaltstack": 131,
        "gettid": 186,
        "futex": 202,
        "restart_syscall": 219,
        "clock_gettime": 228,
        "exit_group": 231,
        "getrandom": 318,
    },
    "aarch64": {
        "close": 57,
        "mmap": 222,
        "mprotect": 226,
        "munmap": 215,
        "brk": 214,
        "rt_sigaction": 134,
        "rt_sigprocmask": 135,
        "rt_sigreturn": 139,
        "pread64": 67,
        "pwrite64": 68,
        "sched_yield": 124,
        "mremap": 216,
        "madvise": 233,
        "getpid": 172,
        "exit": 93,
        "ftruncate": 46,
        "gettimeofday": 169,
        "sigaltstack": 132,
        "gettid": 178,
        "futex": 98,
        "restart_syscall": 128,
        "clock_gettime": 113,
        "exit_group": 94,
        "getrandom": 278,
    },
}
#: ``clone`` by architecture: with CLONE_THREAD it starts a thread, without it a process.
_CLONE, _CLONE_THREAD = {"x86_64": 56, "aarch64": 220}, 0x0001_0000
#: What glibc calls in a new thread. Without ``rseq`` it ends the process.
_FOR_THREADS = {
    "x86_64": {"set_robust_list": 273, "rseq": 334},
    "aarch64": {"set_robust_list": 99, "rseq": 293},
}
#: The filter cannot see the flags of ``clone3``. Told that there is none, glibc uses ``clone``.
_CLONE3 = 435
_ARCHITECTURES = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


class SyscallFilter:
    """The list of this machine's architecture, ready to be installed."""

    def __init__(self, code: bytes) -> None:
        self._program = _Program(len(code) // 8, code)

    @classmethod
    def for_this_machine(cls, *, threads: bool = False) -> SyscallFilter | None:
        """Return the filter, or None if the architecture is unknown or the kernel refuses it.

        ``threads``: threads may be started; still no process.
        """
        machine = platform.machine()
        if sys.platform != "linux" or machine not in ALLOWED or struct.calcsize("P") != 8:
            return None
        allowed = ALLOWED[machine] | (_FOR_THREADS[machine] if threads else {})
        code = _code(
            _ARCHITECTURES[machine],
            sorted(allowed.values()),
            _CLONE[machine] if threads else None,
        )
        syscall_filter = cls(code)
        return syscall_filter if syscall_filter._is_accepted() else None

    def install(self) -> None:
        """Confine this process for the rest of its life. Raises OSError; needs no_new_privs."""
        program = ctypes.addressof(self._program)
        process_control.prctl(process_control.PR_SET_SECCOMP, _MODE_FILTER, program)

    def _is_accepted(self) -> bool:
        """Try the filter in a child process, because an installed filter cannot be removed."""

        def try_it() -> int:
            process_control.prctl(process_control.PR_SET_NO_NEW_PRIVS, 1)
            self.install()
            return 0

        return process_control.wait_for_exit(process_control.fork(try_it)) == 0


def _code(architecture: int, numbers: list[int], clone: int | None) -> bytes:
    """Assemble the BPF program that allows these system calls on this architecture.

    ``clone``: the number of the call that may start threads; None: it may not.
    """
    refuse_and_allow = [(_RETURN, 0, 0, _FAIL | errno.EPERM), (_RETURN, 0, 0, _ALLOW)]
    start_thread = [
        (_JUMP_IF_EQUAL, 0, 2, clone or 0),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_JUMP_IF_SET, 3, 2, _CLONE_THREAD),
        (_JUMP_IF_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _FAIL | errno.ENOSYS),
    ]
    rest = (start_thread if clone is not None else []) + refuse_and_allow
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_IF_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    # Each one jumps to the last step, which allows.
    last = len(numbers) + len(rest) - 2
    steps += [(_JUMP_IF_EQUAL, last - i, 0, number) for i, number in enumerate(numbers)]
    steps += rest
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
