"""A primary, a replica and three Sentinels that watch them, all real, on loopback ports."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any, Self

from redis import Redis
from redis.exceptions import RedisError

from deploy.embedded.child_process import ChildProcess, free_port
from deploy.embedded.valkey import valkey_binary
from tests.waiting import eventually

SERVICE = "facemend"


class WatchedRedis:
    """``url`` follows the primary. The Sentinels agree within a second that it is down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.password = secrets.token_urlsafe(12)
        self.ports = [free_port() for _ in range(2)]
        self.sentinel_ports = [free_port() for _ in range(3)]
        self.servers: dict[int, ChildProcess] = {}
        self.sentinels: list[ChildProcess] = []

    @property
    def url(self) -> str:
        nodes = ",".join(f"127.0.0.1:{port}" for port in self.sentinel_ports)
        return f"redis+sentinel://:{self.password}@{nodes}/{SERVICE}/0"

    def __enter__(self) -> Self:
        for port in self.ports:
            self.start_server(port, replica_of=None if port == self.ports[0] else self.ports[0])
        for number, port in enumerate(self.sentinel_ports):
            self.sentinels.append(self._start_sentinel(number, port))
        eventually(self._is_watched)
        return self

    def __exit__(self, *exception: object) -> None:
        for child in (*self.sentinels, *self.servers.values()):
            child.kill()

    def start_server(self, port: int, replica_of: int | None = None) -> None:
        lines = [
            f"port {port}",
            "bind 127.0.0.1",
            f"requirepass {self.password}",
            f"masterauth {self.password}",
            "appendonly yes",
            'save ""',
            "repl-diskless-sync-delay 0",
            f"dir {self._folder(f'server-{port}')}",
        ]
        if replica_of is not None:
            lines.append(f"replicaof 127.0.0.1 {replica_of}")
        self.servers[port] = self._start(f"server-{port}", lines)
        eventually(lambda: self._responds(port))

    def client(self, port: int) -> Redis:
        return Redis(port=port, password=self.password, decode_responses=True, socket_timeout=2)

    def primary(self) -> int:
        """Return the port of the primary, as the first Sentinel sees it."""
        sentinel = Redis(port=self.sentinel_ports[0], decode_responses=True, socket_timeout=2)
        address: Any = sentinel.sentinel_get_master_addr_by_name(SERVICE)
        return int(address[1])

    def is_replica(self, port: int) -> bool:
        """Return whether the server on this port is a replica with all writes of the primary."""
        try:
            state: Any = self.client(port).info("replication")
        except RedisError:
            return False
        return bool(state["role"] == "slave" and state["master_link_status"] == "up")

    def kill_primary(self) -> int:
        """Kill it like a crash; return its port. ``primary`` is another one a little later."""
        port = self.primary()
        self.servers[port].kill()
        return port

    def _start_sentinel(self, number: int, port: int) -> ChildProcess:
        name = f"sentinel-{number}"
        lines = [
            f"port {port}",
            "bind 127.0.0.1",
            f"dir {self._folder(name)}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.ports[0]} 2",
            f"sentinel auth-pass {SERVICE} {self.password}",
            f"sentinel down-after-milliseconds {SERVICE} 1000",
            f"sentinel failover-timeout {SERVICE} 5000",
        ]
        return self._start(name, lines, "--sentinel")

    def _start(self, name: str, lines: list[str], *more: str) -> ChildProcess:
        folder = self._folder(name)
        config = folder / "redis.conf"
        config.write_text("\n".join(lines) + "\n")
        child = ChildProcess(name, [valkey_binary(), str(config), *more], folder=folder)
        child.start()
        return child

    def _folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _responds(self, port: int) -> bool:
        try:
            return bool(self.client(port).ping())
        except RedisError:
            return False

    def _is_watched(self) -> bool:
        """Return whether each Sentinel knows the replica and both other Sentinels."""
        for port in self.sentinel_ports:
            try:
                state: Any = Redis(port=port, decode_responses=True).sentinel_masters()[SERVICE]
            except (RedisError, KeyError):
                return False
            if (state["num-slaves"], state["num-other-sentinels"]) != (1, 2):
                return False
        return True
