from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.embedded.child_process import Child, free_port
from shared.errors import StackFailed
from tests.deploy.embedded.processes import alive, group_alive
from tests.waiting import eventually


def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time, pathlib\n"
        "from deploy.embedded.child_process import Child\n"
        "child = Child('sleeper', ['sleep', '600'], folder=pathlib.Path(sys.argv[1]))\n"
        "child.start(); print(child.pid, flush=True); time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    eventually(lambda: Path(f"/proc/{pid}/comm").read_text().strip() == "sleep")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    eventually(lambda: not alive(pid))


def test_a_child_that_ignores_sigterm_is_killed_with_its_group(tmp_path: Path) -> None:
    child = Child("stubborn", ["sh", "-c", "trap '' TERM; echo up; sleep 600"], folder=tmp_path)
    child.start()
    child.wait_until(lambda: "up" in child.log_tail(), timeout_s=20)
    child.stop(grace_s=0.1)
    assert child.exit_code == -signal.SIGKILL
    eventually(lambda: not group_alive(child.pid))


def test_a_child_that_ends_while_we_wait_says_so_with_its_last_words(tmp_path: Path) -> None:
    child = Child("hasty", ["sh", "-c", "echo no such luck; exit 3"], folder=tmp_path)
    child.start()
    with pytest.raises(StackFailed, match=r"hasty ended with 3:\nno such luck"):
        child.wait_until(lambda: False, timeout_s=20)


def test_a_child_that_is_never_ready_says_so(tmp_path: Path) -> None:
    slow = Child("slow", ["sleep", "600"], folder=tmp_path)
    with slow, pytest.raises(StackFailed, match="slow not ready in 0 s"):
        slow.wait_until(lambda: False, timeout_s=0.05)


def test_a_free_port_is_free_and_so_is_its_twin() -> None:
    port = free_port()
    for number in (port, port + 10_000):
        socket.create_server(("127.0.0.1", number)).close()


def test_a_preferred_port_is_kept_when_it_is_free() -> None:
    port = free_port()
    assert free_port(port) == port
