"""``facemend restore`` without what only Linux has, as on macOS."""

from __future__ import annotations

import fcntl
import logging
import os
import sys
import tempfile
from pathlib import Path

import pytest

from tests.worker.commands.conftest import Facemend, only_line, opened
from worker.decoder import fork_server_client, memory_file, sandbox, seccomp

_LINUX_ONLY = {
    os: ("memfd_create", "MFD_CLOEXEC", "MFD_ALLOW_SEALING", "sched_getaffinity"),
    fcntl: ("F_ADD_SEALS", "F_SEAL_WRITE", "F_SEAL_SHRINK", "F_SEAL_GROW", "F_SEAL_SEAL"),
}
#: The same in the fork server, after it has imported the libraries for Linux.
_BEGIN = "\nmain(config)"
_AS_ON_MACOS = """
import ctypes, fcntl, os
from shared import process_control
from worker.decoder import sandbox
for name in ("memfd_create", "sched_getaffinity", "setresuid", "setresgid"):
    delattr(os, name)
del fcntl.F_ADD_SEALS, process_control.prctl
sys.platform = "darwin"
"""


@pytest.fixture
def macos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what macOS lacks, here and in the fork server."""
    for module, names in _LINUX_ONLY.items():
        for name in names:
            monkeypatch.delattr(module, name)
    program = fork_server_client._PROGRAM
    assert program.count(_BEGIN) == 1
    monkeypatch.setattr(
        fork_server_client, "_PROGRAM", program.replace(_BEGIN, _AS_ON_MACOS + _BEGIN)
    )


@pytest.mark.usefixtures("macos")
def test_a_photo_is_restored_and_the_log_says_what_is_not_confined(
    facemend: Facemend, folder: Path, astronaut: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        answer = facemend("restore", astronaut, "-o", folder / "result.png")
    assert answer.exit_code == 0, answer.stderr
    assert "1 of 1 face(s) restored" in only_line(answer.stdout)
    assert opened(folder / "result.png").size == opened(astronaut).size
    warnings = [record.getMessage() for record in caplog.records if "confined" in record.msg]
    assert len(warnings) == 1
    assert "fill the memory" in warnings[0]
    assert "outlive a process that was killed" in warnings[0]


@pytest.mark.usefixtures("macos")
def test_a_broken_photo_is_refused_as_on_linux(facemend: Facemend, folder: Path) -> None:
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff" + bytes(1000))
    answer = facemend("restore", folder / "broken.jpg")
    assert answer.exit_code != 0
    assert "broken.jpg" in answer.stderr + answer.stdout
    assert not (folder / "output_broken.jpg").exists()


@pytest.mark.usefixtures("macos")
def test_in_place_of_a_memory_file_there_is_a_file_without_a_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    fd = memory_file.create("photo")
    try:
        memory_file.write(fd, b"a photo")
        memory_file.seal(fd)
        assert memory_file.read(fd, 7) == b"a photo"
        assert not os.get_inheritable(fd)
        assert list(tmp_path.iterdir()) == []
    finally:
        os.close(fd)


def test_nothing_is_unconfined_on_linux_with_a_filter() -> None:
    assert sandbox.gaps(seccomp.SyscallFilter(b"")) == ()
    assert "system call" in sandbox.gaps(None)[0]


def test_another_system_has_no_filter_whatever_its_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert seccomp.SyscallFilter.for_this_machine() is None
    assert len(sandbox.gaps(None)) == 4
