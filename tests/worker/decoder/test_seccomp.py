"""The filter of system calls, put in force in processes of their own."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.decoder import kernel
from worker.decoder.seccomp import ALLOWED, Filter

# other tests may have left threads behind; what is forked here calls none of their code
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def confined(deed: Callable[[], object]) -> int:
    """Exit code of a process that does this behind the filter: 0, or the error's number."""
    allowed = Filter.in_force()
    if allowed is None:
        pytest.skip("this kernel filters no system calls")

    def life() -> int:
        kernel.prctl(kernel.SET_NO_NEW_PRIVS, 1)
        allowed.install()
        try:
            deed()
        except OSError as error:
            return error.errno or 255
        return 0

    return kernel.exit_code_of(kernel.fork(life))


def test_what_is_on_the_list_goes_on() -> None:
    assert confined(lambda: bytearray(10_000_000)) == 0
    assert confined(os.getpid) == 0


@pytest.mark.parametrize(
    "deed",
    [
        lambda: os.open("/dev/null", os.O_RDONLY),
        os.pipe,
        os.fork,
        lambda: os.kill(os.getppid(), 0),
        lambda: os.write(1, b""),
    ],
    ids=["open", "pipe", "fork", "kill", "write"],
)
def test_what_is_not_fails_and_says_so(deed: Callable[[], object]) -> None:
    assert confined(deed) == errno.EPERM


def test_the_filter_stays() -> None:
    assert confined(lambda: kernel.prctl(kernel.SET_DUMPABLE, 1)) == errno.EPERM


@pytest.mark.parametrize(
    ("machine", "header", "prefix"),
    [
        ("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "__NR_"),
        ("aarch64", "/usr/include/asm-generic/unistd.h", "__NR(?:3264)?_"),
    ],
)
def test_the_numbers_are_those_of_the_kernels_headers(
    machine: str, header: str, prefix: str
) -> None:
    if not Path(header).exists():
        pytest.skip(f"no {header}")
    found = dict(re.findall(rf"#define {prefix}(\w+)\s+(\d+)\n", Path(header).read_text()))
    assert ALLOWED[machine] == {name: int(found[name]) for name in ALLOWED[machine]}
