from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from deploy.embedded import stack as stack_module
from deploy.embedded.child_process import ChildProcess, free_port
from deploy.embedded.seaweedfs import SeaweedFS
from deploy.embedded.stack import Stack
from deploy.embedded.valkey import Valkey
from shared.errors import StackFailed
from shared.jobs.store import JobStore


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def stack(
    tmp_path: Path, valkey: Valkey, seaweedfs: SeaweedFS, lines: list[str]
) -> Iterator[Stack]:
    """Not started: it has the servers of all tests, and no process."""
    stack = Stack(tmp_path, say=lines.append, environ={})
    stack.redis, stack.s3 = valkey, seaweedfs
    stack.state.api_port = free_port()
    yield stack
    for child in stack.processes.values():
        child.stop(grace_s=0)
    if stack._lock is not None:
        stack._lock.close()


def with_metrics_port(stack: Stack, port: int) -> Stack:
    stack._environ["FACEMEND_METRICS_PORT"] = str(port)
    return stack


def test_worker_and_notifier_have_metrics_ports_of_their_own(stack: Stack) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port + 1)):
        ports = with_metrics_port(stack, port)._choose_metrics_ports()
    assert ports["worker"] == port
    assert ports["notifier"] > port + 1


def test_without_the_setting_there_are_no_metrics_ports(stack: Stack) -> None:
    assert stack._choose_metrics_ports() == {}


def test_a_taken_metrics_port_is_refused(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StackFailed, match=f"FACEMEND_METRICS_PORT: port {port} is taken"):
            with_metrics_port(stack, port)._choose_metrics_ports()
    with pytest.raises(StackFailed, match="is taken"):
        with_metrics_port(stack, stack.state.api_port or 0)._choose_metrics_ports()


def test_addresses_on_loopback_are_allowed_unless_the_caller_says_more(stack: Stack) -> None:
    assert stack.settings().allow_private_addresses == "loopback"
    stack._environ["FACEMEND_ALLOW_PRIVATE_ADDRESSES"] = "all"
    assert stack.settings().allow_private_addresses == "all"


def test_only_the_worker_that_was_just_started_is_ready(stack: Stack, store: JobStore) -> None:
    stack.processes["worker"] = ChildProcess("worker", ["sleep", "600"], folder=stack.folder)
    stack.processes["worker"].start()
    store.workers.announce(f"{socket.gethostname()}-1", [])  # the worker of the last start
    assert not stack._is_ready("worker")
    store.workers.announce(stack._worker_name(), [])
    assert stack._is_ready("worker")


def test_an_old_announcement_under_the_same_name_is_forgotten(store: JobStore) -> None:
    store.workers.announce("host-1", [])
    store.workers.announce("host-2", [])
    store.workers.forget("host-1")
    assert store.workers.names() == ["host-2"]


def test_a_process_that_ends_again_and_again_is_said_until_it_runs(
    stack: Stack, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack_module, "_BACKOFF_S", (0.0,))
    monkeypatch.setattr(stack_module, "_PROCESSES", {"notifier": ["no_such_module"]})
    stack._take_folder()
    stack.start_process("notifier")
    watch_until(stack, lines, "NOT UP: notifier ended 3 times in a row")
    assert "No module named no_such_module" in lines[-1]
    assert stack.down == ["notifier"]
    assert "not up: notifier" in (stack.folder / "lock").read_text()
    monkeypatch.setattr(stack_module, "_STEADY_S", 0.0)
    working = {"notifier": ["http.server", "--bind", "127.0.0.1", str(free_port())]}
    monkeypatch.setattr(stack_module, "_PROCESSES", working)
    watch_until(stack, lines, "up again")
    assert stack.down == []
    assert "not up" not in (stack.folder / "lock").read_text()


def watch_until(stack: Stack, lines: list[str], said: str) -> None:
    """Watch the stack until it says a line that contains ``said``."""
    stop = Event()

    def say(line: str) -> None:
        lines.append(line)
        if said in line:
            stop.set()

    stack._say = say
    stack.watch(stop)


def test_what_a_process_writes_may_be_read_by_its_owner_only(tmp_path: Path) -> None:
    child = ChildProcess("writer", ["sh", "-c", "echo x > file; mkdir folder"], folder=tmp_path)
    child._cwd = tmp_path
    child.start()
    assert child._process is not None
    child._process.wait()
    for name in ("file", "folder", "writer.log"):
        assert not (tmp_path / name).stat().st_mode & 0o077, name
