from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.small_disk import SmallDisk

_WRITER = """
import sys
for _ in sys.stdin:
    try:
        with open(sys.argv[1], "ab", buffering=0) as file:
            file.write(b"a line")
        print("written", flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
"""
Ask = Callable[[], str]


@pytest.fixture
def disk(tmp_path: Path) -> SmallDisk:
    disk = SmallDisk(tmp_path / "disk")
    if not disk.possible:
        pytest.skip("this machine lets us mount nothing")
    return disk


@pytest.fixture
def writer(disk: SmallDisk, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [disk.launcher(sys.executable), "-c", _WRITER, str(tmp_path / "disk" / "file")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def ask(writer: subprocess.Popen[str]) -> Ask:
    """Has the process write; its answer."""
    assert writer.stdin is not None
    assert writer.stdout is not None
    stdin, stdout = writer.stdin, writer.stdout

    def ask() -> str:
        stdin.write("now\n")
        stdin.flush()
        return stdout.readline().strip()

    return ask


def test_it_is_full_for_the_one_process_and_has_room_again_afterwards(
    disk: SmallDisk, writer: subprocess.Popen[str], ask: Ask, tmp_path: Path
) -> None:
    assert ask() == "written"
    (tmp_path / "disk" / "of-another").write_bytes(bytes(10))
    (tmp_path / "disk" / "file").write_bytes(bytes(10))
    with disk.full(writer.pid):
        said = {ask() for _ in range(1000)}  # the file's last page may have had some room
        assert ask() == "No space left on device"
        assert said <= {"written", "No space left on device"}
        assert (tmp_path / "disk" / "of-another").exists()
    assert ask() == "written"
    assert (tmp_path / "disk" / "file").read_bytes() == bytes(10), "its own file is another"
