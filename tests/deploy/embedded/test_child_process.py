from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.embedded.child_process import ChildProcess, free_port
from shared.errors import StackFailed
from tests.deploy.embedded.processes import alive, group_alive
from tests.waiting import eventually

_ROOT = Path(__file__).parents[3]


def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "import sys, time, pathlib\n"
        "from deploy.embedded.child_process import ChildProcess\n"
        "child = ChildProcess('sleeper', ['sleep', '600'], folder=pathlib.Path(sys.argv[1]))\n"
        "child.start(); print(child.pid, flush=True); time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    eventually(lambda: Path(f"/proc/{pid}/comm").read_text().strip() == "sleep")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    eventually(lambda: not alive(pid))


def test_a_child_that_ignores_sigterm_is_killed_with_its_group(tmp_path: Path) -> None:
    child = ChildProcess(
        "stubborn", ["sh", "-c", "trap '' TERM; echo up; sleep 600"], folder=tmp_path
    )
    child.start()
    child.wait_until(lambda: "up" in child.log_tail(), timeout_s=20)
    child.stop(grace_s=0.1)
    assert child.exit_code == -signal.SIGKILL
    eventually(lambda: not group_alive(child.pid))


def test_the_error_of_a_child_that_exits_early_has_the_end_of_its_log(tmp_path: Path) -> None:
    child = ChildProcess("hasty", ["sh", "-c", "echo no such luck; exit 3"], folder=tmp_path)
    child.start()
    with pytest.raises(StackFailed, match=r"hasty ended with 3:\nno such luck"):
        child.wait_until(lambda: False, timeout_s=20)


def test_a_child_that_is_never_ready_is_an_error(tmp_path: Path) -> None:
    slow = ChildProcess("slow", ["sleep", "600"], folder=tmp_path)
    with slow, pytest.raises(StackFailed, match="slow not ready in 0 s"):
        slow.wait_until(lambda: False, timeout_s=0.05)


def test_a_free_port_and_the_one_10000_above_are_free() -> None:
    port = free_port()
    for number in (port, port + 10_000):
        socket.create_server(("127.0.0.1", number)).close()


def test_a_preferred_port_is_kept_when_it_is_free() -> None:
    port = free_port()
    assert free_port(port) == port


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has names that end with a process")
def test_a_port_that_one_process_has_chosen_is_not_chosen_by_another() -> None:
    port = free_port()
    words = "import sys; from deploy.embedded.child_process import free_port as f"
    for wanted in (port, port - 10_000):  # the other one would be the second port of SeaweedFS
        argv = [sys.executable, "-c", f"{words}; print(f(int(sys.argv[1])))", str(wanted)]
        chosen = subprocess.run(argv, capture_output=True, text=True, check=True, cwd=_ROOT).stdout
        assert int(chosen) not in {port, port - 10_000}


def test_one_process_does_not_choose_a_port_twice() -> None:
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
