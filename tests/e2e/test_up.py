"""``facemend up`` and ``facemend demo`` as a person runs them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image, ImageChops

from deploy.embedded.child_process import ChildProcess, free_port
from deploy.embedded.stack import Stack
from shared.errors import StackFailed
from tests.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
_FACEMEND = [sys.executable, "-m", "worker.cli"]
_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[ChildProcess]:
    """The command, not started yet; its data are in ``tmp_path/data``."""
    argv = [*_FACEMEND, "up", "--data", str(tmp_path / "data")]
    child = ChildProcess("up", argv, folder=tmp_path, cwd=_ROOT)
    yield child
    child.stop(grace_s=60)


def test_up_starts_prints_address_and_key_and_stops_without_a_trace(
    up: ChildProcess, tmp_path: Path
) -> None:
    address, key = start(up)
    answer = httpx.get(
        f"{address}/v1/restorations", headers={"Authorization": f"Bearer {key}"}, trust_env=False
    )
    assert answer.json() == {"data": [], "next_cursor": None}
    link = re.search(
        rf"page, signed in ({address}/#token=fm_live_\w+)$", up.log_tail(30), re.MULTILINE
    )
    assert link
    token = link[1].partition("=")[2]
    assert token != key
    usage = httpx.get(
        f"{address}/v1/usage", headers={"Authorization": f"Bearer {token}"}, trust_env=False
    )
    assert usage.json()["tenant"] == "local"
    with pytest.raises(StackFailed, match=rf"runs in .* already: process \d+, {address}"):
        Stack(tmp_path / "data").start()
    up.signal(signal.SIGTERM)
    eventually(lambda: not up.running)
    assert up.exit_code == 0
    assert left_running(tmp_path) == []


def test_up_gives_worker_and_notifier_metrics_ports_of_their_own(
    tmp_path: Path,
) -> None:
    port, data = free_port(), tmp_path / "data"
    argv = [*_FACEMEND, "up", "--data", str(data)]
    env = {**os.environ, "FACEMEND_METRICS_PORT": str(port)}
    up = ChildProcess("up", argv, folder=tmp_path, cwd=_ROOT, env=env)
    up.start()
    try:
        up.wait_until(lambda: "Ctrl-C stops it." in up.log_tail(30), timeout_s=200)
        found = re.findall(r"metrics +(\S+) \((worker|notifier)\)", up.log_tail(30))
        urls = {name: url for url, name in found}
        assert urls["worker"] == f"http://127.0.0.1:{port}/metrics"
        assert urls["notifier"] != urls["worker"]
        for url in urls.values():
            assert httpx.get(url, trust_env=False).status_code == 200
        # The S3 server sets modes of its own; nobody else can enter its folder.
        written = [path for path in data.rglob("*") if data / "s3" not in path.parents]
        assert not [path for path in [data, *written] if is_open(path)]
    finally:
        up.stop(grace_s=60)


def is_open(path: Path) -> bool:
    """Return whether other users may read or write the file or folder."""
    return not path.is_symlink() and bool(path.stat().st_mode & 0o077)


def test_all_processes_of_a_killed_up_die_and_the_next_start_has_the_same_data(
    up: ChildProcess, tmp_path: Path
) -> None:
    before = start(up)
    up.signal(signal.SIGKILL)  # only the leader, as the kernel does when memory runs out
    eventually(lambda: left_running(tmp_path) == [])
    assert start(up) == before


def test_a_second_signal_stops_up_at_once(up: ChildProcess, tmp_path: Path) -> None:
    start(up)
    for pid in pids_in(tmp_path / "data" / "worker"):
        os.kill(pid, signal.SIGSTOP)  # a worker that will not drain
    up.signal(signal.SIGINT)
    eventually(lambda: "stopping:" in up.log_tail())
    up.signal(signal.SIGINT)
    eventually(lambda: not up.running, 20)
    assert left_running(tmp_path) == []


def test_a_process_that_dies_is_restarted(stack: Stack) -> None:
    lines: list[str] = []
    stack._say = lines.append
    old = stack.processes["notifier"].pid
    stack.processes["notifier"].kill()
    restarted = threading.Event()

    def wait() -> None:
        try:
            eventually(lambda: stack.processes["notifier"].pid != old)
        finally:
            restarted.set()

    threading.Thread(target=wait).start()
    stack.watch(restarted)  # in this thread, because children die with the thread that started them
    assert stack.processes["notifier"].running
    assert lines[0].startswith("notifier ended (SIGKILL);")


def test_a_taken_port_is_reported_and_no_process_is_left(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StackFailed, match=f"port {port} is taken"):
            Stack(tmp_path, api_port=port).start()
    assert left_running(tmp_path) == []


def test_the_demo_restores_a_photo_and_leaves_three_pictures(tmp_path: Path) -> None:
    demo = subprocess.run(
        [*_FACEMEND, "demo", "--out", str(tmp_path / "demo")],
        capture_output=True,
        text=True,
        cwd=_ROOT,
        check=False,
    )
    assert demo.returncode == 0, demo.stderr
    assert "succeeded: 1 of 1 face(s) restored" in demo.stdout
    assert "signature verified" in demo.stdout
    for stage in ("start of the stack", "queue", "fetch", "detect", "restore", "paste", "publish"):
        assert any(line.strip().startswith(stage) for line in demo.stdout.splitlines()), stage
    with (
        Image.open(tmp_path / "demo" / "before.png") as before,
        Image.open(tmp_path / "demo" / "after.png") as after,
        Image.open(tmp_path / "demo" / "comparison.png") as comparison,
    ):
        assert before.size == after.size == (512, 512)
        assert ImageChops.difference(before, after).getbbox() is not None
        assert comparison.width > 3 * before.width


def start(up: ChildProcess) -> tuple[str, str]:
    """Start the command and wait until it is ready; return address and API key."""
    said_before = up.log_tail(10_000).count("Ctrl-C stops it.")
    up.start()
    up.wait_until(
        lambda: up.log_tail(10_000).count("Ctrl-C stops it.") > said_before, timeout_s=200
    )
    lines = [line.split() for line in up.log_tail(30).splitlines()]
    address = [line[1] for line in lines if line[:1] == ["address"]]
    key = [line[2] for line in lines if line[:2] == ["API", "key"]]
    return address[-1], key[-1]


def left_running(folder: Path) -> list[str]:
    """Return the command lines of the processes that work inside ``folder``."""
    lines = []
    for pid in pids_in(folder):
        with contextlib.suppress(OSError):
            lines.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "))
    return lines


def pids_in(folder: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").resolve().is_relative_to(folder):
                found.append(int(process.name))
    return found
