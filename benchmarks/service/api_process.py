"""The API as a process, with a Redis and an S3 of its own: what benchmarks send requests to."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.service.servers import python_process, run_servers, to_environment, to_settings
from deploy.embedded.child_process import ChildProcess, free_port
from shared.tenants.api_keys import KeyRing

API = ("api",)
_UNLIMITED = str(1_000_000_000)


@dataclass(frozen=True, slots=True)
class Api:
    """A running API: its port, API keys of two tenants, the process, and its settings."""

    port: int
    key: str
    other_key: str
    process: ChildProcess
    settings: Mapping[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def running_api(folder: Path, argv: Sequence[str] = API, **settings: str) -> Iterator[Api]:
    """Run the API without a worker.

    ``argv`` is a Python module and its arguments, in which ``{port}`` stands for the port.
    ``settings``: besides those that this function makes.
    """
    with run_servers(folder) as servers:
        port = free_port()
        values = {
            **servers,
            "api_bind": f"127.0.0.1:{port}",
            "allow_private_addresses": "all",
            "max_queued_per_tenant": _UNLIMITED,
            "rate_limit": _UNLIMITED,
            **settings,
        }
        keys = KeyRing.connect(to_settings(values))
        key, other_key = (keys.create(tenant, "benchmark")[1] for tenant in ("acme", "other"))
        argv = [word.format(port=port) for word in argv]
        url = f"http://127.0.0.1:{port}/healthz"
        with running_server(folder / "api", argv, to_environment(values), url) as process:
            yield Api(port, key, other_key, process, values)


@contextmanager
def running_server(
    folder: Path, argv: Sequence[str], env: dict[str, str], url: str
) -> Iterator[ChildProcess]:
    """Run the Python module ``argv``; wait until ``url`` responds, and stop it at the end."""
    folder.mkdir()
    process = python_process(folder, list(argv), env)
    process.start()
    try:
        process.wait_until(lambda: _is_listening(url), timeout_s=60)
        yield process
    finally:
        process.stop()


def _is_listening(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        time.sleep(0.05)
        return False
    return True
