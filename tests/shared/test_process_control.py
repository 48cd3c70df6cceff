"""Control of child processes: parent death, forks, exits in words."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shared import process_control
from shared.process_control import command_that_dies_with_us, exit_in_words, fork, wait_for_exit
from tests.deploy.embedded.processes import alive
from tests.waiting import eventually

# Other tests may leave threads behind; the forks here call none of their code.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def test_an_exit_is_described_in_words() -> None:
    assert exit_in_words(-signal.SIGSEGV) == "SIGSEGV"
    assert exit_in_words(-64) == "SIGRTMAX"
    assert exit_in_words(-63) == "signal 63"
    assert exit_in_words(70) == "exit code 70"


def test_a_fork_exits_with_the_result_of_its_function() -> None:
    assert wait_for_exit(fork(lambda: 7)) == 7


def test_a_process_whose_parent_is_already_dead_does_not_start() -> None:
    command = command_that_dies_with_us(["true"])
    command[4] = "1"  # not its parent
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the parent process is already dead" in done.stderr


def test_a_fork_dies_with_its_parent() -> None:
    script = (
        "import os, time\n"
        "from shared.process_control import die_with_parent, fork\n"
        "parent = os.getpid()\n"
        "ready, ready_writer = os.pipe()\n"
        "def run():\n"
        "    die_with_parent(parent)\n"
        "    os.write(ready_writer, b'x')\n"
        "    time.sleep(600)\n"
        "    return 0\n"
        "child = fork(run)\n"
        "os.read(ready, 1)\n"
        "print(child, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    eventually(lambda: not alive(child))


def test_prctl_reports_the_error_of_the_kernel() -> None:
    with pytest.raises(OSError, match=r"prctl\(-1\)"):
        process_control.prctl(-1, 0)


def test_the_import_path_for_a_child_waits_for_an_import_of_cv2(tmp_path: Path) -> None:
    package = tmp_path / "cv2"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import sys, time\n"
        "before = list(sys.path)\n"
        "sys.path.insert(1, __path__[0])\n"
        "time.sleep(0.5)\n"
        "sys.path = before\n"
    )
    program = (
        "import sys, threading, time\n"
        "from shared.process_control import import_path\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "threading.Thread(target=__import__, args=('cv2',)).start()\n"
        f"while {str(package)!r} not in sys.path: time.sleep(0.01)\n"
        f"assert {str(package)!r} not in import_path()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
