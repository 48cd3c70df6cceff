"""An embedded Valkey and SeaweedFS, and processes that use them."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deploy.embedded.child_process import ChildProcess
from deploy.embedded.seaweedfs import SeaweedFS
from deploy.embedded.valkey import Valkey
from shared.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def run_servers(folder: Path) -> Iterator[dict[str, str]]:
    """Run both servers, and yield the settings of Facemend that point at them, as strings."""
    with Valkey(folder / "redis") as valkey, SeaweedFS(folder / "s3") as seaweed:
        yield {
            "redis_url": valkey.url,
            "s3_endpoint_url": seaweed.endpoint_url,
            "s3_bucket": seaweed.bucket,
            "s3_access_key_id": seaweed.access_key_id,
            "s3_secret_access_key": seaweed.secret_access_key,
            "api_key_pepper": secrets.token_urlsafe(24),
        }


def to_settings(values: Mapping[str, str]) -> Settings:
    """Return the settings with these values."""
    return Settings(_env_file=None, **values)  # type: ignore[arg-type] # pydantic converts


def to_environment(values: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables of these settings."""
    return {f"FACEMEND_{name.upper()}": value for name, value in values.items()}


def python_process(folder: Path, module: list[str], env: Mapping[str, str]) -> ChildProcess:
    """Return a process that runs ``python -m`` with ``module`` and its arguments in ``folder``."""
    argv = [sys.executable, "-m", *module]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path, **env}
    return ChildProcess(folder.name, argv, folder=folder, env=env, cwd=folder)
