"""The system call filter, installed in child processes."""

from __future__ import annotations

import errno
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.process_control import (
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    fork,
    prctl,
    wait_for_exit,
)
from worker.decoder.seccomp import ALLOWED, SyscallFilter

# Other tests may leave threads behind; the forks here call none of their code.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def confined(action: Callable[[], object], *, threads: bool = False) -> int:
    """Call ``action`` in a process with the filter; return 0, or the number of its error."""
    syscall_filter = SyscallFilter.for_this_machine(threads=threads)
    if syscall_filter is None:
        pytest.skip("this kernel filters no system calls")

    def run() -> int:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        syscall_filter.install()
        try:
            action()
        except OSError as error:
            return error.errno or 255
        return 0

    return wait_for_exit(fork(run))


def test_system_calls_on_the_list_work() -> None:
    assert confined(lambda: bytearray(10_000_000)) == 0
    assert confined(os.getpid) == 0


@pytest.mark.parametrize(
    "action",
    [
        lambda: os.open("/dev/null", os.O_RDONLY),
        os.pipe,
        os.fork,
        lambda: os.kill(os.getppid(), 0),
        lambda: os.write(1, b""),
    ],
    ids=["open", "pipe", "fork", "kill", "write"],
)
def test_other_system_calls_fail_with_eperm(action: Callable[[], object]) -> None:
    assert confined(action) == errno.EPERM


def test_the_filter_cannot_be_removed() -> None:
    assert confined(lambda: prctl(PR_SET_DUMPABLE, 1)) == errno.EPERM


@pytest.mark.parametrize(
    ("machine", "header", "prefix"),
    [
        ("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "__NR_"),
        ("aarch64", "/usr/include/asm-generic/unistd.h", "__NR(?:3264)?_"),
    ],
)
def test_the_numbers_match_the_kernel_headers(machine: str, header: str, prefix: str) -> None:
    if not Path(header).exists():
        pytest.skip(f"no {header}")
    found = dict(re.findall(rf"#define {prefix}(\w+)\s+(\d+)\n", Path(header).read_text()))
    assert ALLOWED[machine] == {name: int(found[name]) for name in ALLOWED[machine]}


def run_in_a_thread() -> None:
    """Raises OSError if no thread can be started."""
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.append(1))
    try:
        thread.start()
    except RuntimeError as error:
        raise OSError(errno.EPERM, "no thread") from error
    thread.join()
    assert done == [1]


def test_a_thread_starts_only_if_the_filter_allows_it() -> None:
    assert confined(run_in_a_thread, threads=True) == 0
    assert confined(run_in_a_thread) == errno.EPERM


def test_no_process_starts_even_if_threads_may() -> None:
    assert confined(os.fork, threads=True) == errno.EPERM
    assert confined(lambda: os.posix_spawn("/bin/true", ["true"], {}), threads=True) != 0
