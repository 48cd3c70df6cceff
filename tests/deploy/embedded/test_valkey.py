from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest
from redis import AuthenticationError, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.embedded.valkey import Valkey
from tests.deploy.embedded.processes import alive


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


def test_nothing_is_left_of_valkey_after_stop(tmp_path: Path) -> None:
    with Valkey(tmp_path) as server:
        assert server.child is not None
        pid, port = server.child.pid, server.port
        assert alive(pid)
    assert not alive(pid)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port or 0)) != 0
