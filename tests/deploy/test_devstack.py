from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from redis import AuthenticationError, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.child import Child, free_port
from deploy.devstack import SeaweedFS, Valkey
from shared.errors import StackFailed


def s3_client(server: SeaweedFS, secret: str | None = None) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=secret or server.secret_access_key,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 2}),
    )


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie that init has yet to collect does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def group_alive(pgid: int) -> bool:
    stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    fields = [stat.rpartition(")")[2].split() for stat in stats]
    return any(int(group) == pgid and state != "Z" for state, _, group, *_ in fields)


def test_valkey_lets_nobody_in_without_the_password(valkey: Valkey) -> None:
    stranger: Redis = Redis(port=valkey.port or 0, retry=Retry(NoBackoff(), 0))
    with pytest.raises(AuthenticationError):
        stranger.ping()
    stranger.close()


def test_the_password_is_on_no_command_line_and_its_file_is_ours_alone(valkey: Valkey) -> None:
    assert valkey.child is not None
    command_line = Path(f"/proc/{valkey.child.pid}/cmdline").read_bytes()
    assert valkey.password.encode() not in command_line
    mode = stat.S_IMODE((valkey.folder / "redis.conf").stat().st_mode)
    assert mode == 0o600


def test_valkey_never_evicts_and_appends_to_a_file(valkey: Valkey) -> None:
    client: Redis = Redis.from_url(valkey.url, decode_responses=True)
    assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert client.config_get("appendonly") == {"appendonly": "yes"}
    client.close()


def test_valkey_killed_and_started_again_has_its_data_and_its_port(tmp_path: Path) -> None:
    with Valkey(tmp_path) as server:
        port = server.port
        client: Redis = Redis.from_url(server.url, decode_responses=True)
        client.set("kept", "yes")
        client.execute_command("WAITAOF", 1, 0, 5000)  # type: ignore[no-untyped-call]
        server.kill()
        server.start()
        assert server.port == port
        assert client.get("kept") == "yes"
        client.close()


def test_valkey_on_a_taken_port_moves_to_a_free_one(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Valkey(tmp_path, port=port) as server:
            assert server.port != port


def test_seaweedfs_refuses_a_wrong_secret_and_no_secret(seaweedfs: SeaweedFS) -> None:
    client = s3_client(seaweedfs, secret="wrong" * 8)
    with pytest.raises(ClientError) as refused:
        client.list_objects_v2(Bucket=seaweedfs.bucket)
    client.close()
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_seaweedfs_keeps_objects_over_a_kill_and_a_start_on_other_ports(tmp_path: Path) -> None:
    with SeaweedFS(tmp_path) as first:
        client = s3_client(first)
        client.put_object(Bucket=first.bucket, Key="kept", Body=b"bytes" * 1000)
        client.close()
        first.kill()
    second = SeaweedFS(
        tmp_path, access_key_id=first.access_key_id, secret_access_key=first.secret_access_key
    )
    with second:
        assert second.ports != first.ports
        client = s3_client(second)
        kept = client.get_object(Bucket=second.bucket, Key="kept")["Body"].read()
        client.close()
    assert kept == b"bytes" * 1000


def test_nothing_is_left_after_stop(tmp_path: Path) -> None:
    with Valkey(tmp_path / "redis") as valkey, SeaweedFS(tmp_path / "s3") as seaweedfs:
        assert valkey.child is not None
        assert seaweedfs.child is not None
        pids = [valkey.child.pid, seaweedfs.child.pid]
        ports = [valkey.port, *seaweedfs.ports.values()]
        assert all(alive(pid) for pid in pids)
    assert not any(alive(pid) for pid in pids)
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port or 0)) != 0
    assert not [
        path
        for path in Path("/tmp").glob("seaweedfs-*.sock")
        for port in ports
        if str(port) in path.name
    ]


def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time, pathlib\n"
        "from deploy.child import Child\n"
        "child = Child('sleeper', ['sleep', '600'], folder=pathlib.Path(sys.argv[1]))\n"
        "child.start(); print(child.pid, flush=True); time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert wait_for(lambda: Path(f"/proc/{pid}/comm").read_text().strip() == "sleep")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert wait_for(lambda: not alive(pid))


def test_a_child_that_ignores_sigterm_is_killed_with_its_group(tmp_path: Path) -> None:
    child = Child("stubborn", ["sh", "-c", "trap '' TERM; echo up; sleep 600"], folder=tmp_path)
    child.start()
    child.wait_until(lambda: "up" in child.log_tail(), timeout_s=20)
    child.stop(grace_s=0.1)
    assert child.exit_code == -signal.SIGKILL
    assert wait_for(lambda: not group_alive(child.pid))


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
