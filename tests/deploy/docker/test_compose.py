"""The Redis of docker-compose.yml, started with its own command but without Docker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from redis import AuthenticationError, Redis, RedisError
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from deploy.embedded.child_process import ChildProcess, free_port
from deploy.embedded.valkey import valkey_binary

ROOT = Path(__file__).resolve().parents[3]
Connect = Callable[..., Redis]
PASSWORD, ADMIN_PASSWORD = """a "b' \\ $c # ä""", "of the admin"


@pytest.fixture(params=["", ADMIN_PASSWORD], ids=["without admin", "with admin"])
def connect(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Start the server; ``connect(user, password)`` returns a client."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    shell, flag, script = compose["services"]["redis"]["command"]
    port = free_port()
    script = (
        script.replace("$$", "$")
        .replace("/tmp/", f"{tmp_path}/")
        .replace("/data", str(tmp_path))
        .replace("redis-server", valkey_binary())
        .replace("--bind 0.0.0.0", f"--bind 127.0.0.1 --port {port}")
    )
    env = {
        "PATH": "/usr/bin:/bin",
        "REDIS_PASSWORD": PASSWORD,
        "REDIS_ADMIN_PASSWORD": request.param,
    }
    clients: list[Redis] = []

    def connect(username: str, password: str) -> Redis:
        retry = Retry(NoBackoff(), 0)
        client: Redis = Redis(port=port, username=username, password=password, retry=retry)
        clients.append(client)
        return client

    def responds() -> bool:
        try:
            return bool(connect("default", PASSWORD).ping())
        except RedisError:
            return False

    with ChildProcess("redis", [shell, flag, script], folder=tmp_path, env=env) as server:
        server.wait_until(responds, timeout_s=60)
        yield connect
        for client in clients:
            client.close()


def test_the_service_has_its_password_and_no_administrative_command(connect: Connect) -> None:
    client = connect("default", PASSWORD)
    assert client.set("key", "value")
    for command in ("CONFIG GET maxmemory", "FLUSHALL", "KEYS *", "SHUTDOWN"):
        with pytest.raises(NoPermissionError):
            client.execute_command(*command.split())  # type: ignore[no-untyped-call]
    assert client.info("memory")["maxmemory_policy"] == "noeviction"  # type: ignore[index]
    with pytest.raises(AuthenticationError):
        connect("default", "wrong").ping()


def test_the_admin_exists_only_with_a_password(
    connect: Connect, request: pytest.FixtureRequest
) -> None:
    admin = connect("admin", ADMIN_PASSWORD)
    if "without" in request.node.callspec.id:
        with pytest.raises(AuthenticationError):
            admin.ping()
    else:
        assert admin.flushdb()
