"""A real Valkey and a real SeaweedFS for all tests; both are empty when a test starts."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from deploy.embedded.seaweedfs import SeaweedFS
from deploy.embedded.valkey import Valkey
from shared.settings import Settings

if TYPE_CHECKING:
    from shared.jobs.store import JobStore
    from shared.redis.scripts import Scripts
    from shared.storage.bucket import ObjectStorage
    from shared.webhooks.outbox import Outbox

pytest_plugins = ["tests.crash_reports"]
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True, scope="session")
def _without_settings_of_the_shell() -> None:
    """Remove the settings of Facemend that the shell of a developer may have."""
    for name in [name for name in os.environ if name.startswith("FACEMEND_")]:
        if name != "FACEMEND_DATA":
            del os.environ[name]


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """One for all tests. A test that kills or stops a server starts its own."""
    with Valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """One for all tests. A test that kills or stops a server starts its own."""
    with SeaweedFS(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


@pytest.fixture(scope="session")
def stack_settings(valkey: Valkey, seaweedfs: SeaweedFS) -> dict[str, Any]:
    """Settings of both servers, as arguments of ``Settings`` or, as strings, for an environment."""
    return {
        "redis_url": valkey.url,
        "s3_endpoint_url": seaweedfs.endpoint_url,
        "s3_bucket": seaweedfs.bucket,
        "s3_access_key_id": seaweedfs.access_key_id,
        "s3_secret_access_key": seaweedfs.secret_access_key,
        "api_key_pepper": "pepper-of-the-tests",
        "allow_private_addresses": "all",
        "log_format": "text",
    }


@pytest.fixture
def settings(stack_settings: dict[str, Any]) -> Settings:
    return Settings(_env_file=None, **stack_settings)


@pytest.fixture
def redis(valkey: Valkey) -> Iterator[Redis]:
    """Empty at the start of each test. It may run administrative commands; the service may not."""
    client: Redis = Redis.from_url(valkey.admin_url, decode_responses=True)
    client.flushdb()
    yield client
    client.close()


@pytest.fixture(scope="session")
def object_storage(stack_settings: dict[str, Any]) -> Iterator[ObjectStorage]:
    """One for all tests: boto3 reads its service models for each client, which is slow."""
    from shared.storage.bucket import ObjectStorage

    storage = ObjectStorage(Settings(_env_file=None, **stack_settings))
    yield storage
    storage._client.close()


@pytest.fixture
def storage(object_storage: ObjectStorage) -> ObjectStorage:
    """Empty at the start of each test."""
    object_storage.delete([stored.key for stored in object_storage.list("")])
    return object_storage


@pytest.fixture
def scripts(redis: Redis, valkey: Valkey) -> Iterator[Scripts]:
    """The scripts, run by the user of the service."""
    from shared.redis.scripts import Scripts

    client: Redis = Redis.from_url(valkey.url, decode_responses=True)
    yield Scripts(client)
    client.close()


@pytest.fixture
def store(scripts: Scripts, settings: Settings) -> JobStore:
    from shared.jobs.store import JobStore

    return JobStore(scripts, settings)


@pytest.fixture
def outbox(scripts: Scripts) -> Outbox:
    from shared.webhooks.outbox import Outbox

    return Outbox(scripts)


@pytest.fixture
def log_lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Return the lines of the log so far, as a production process writes them."""
    from shared.telemetry import JsonLines

    stream, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(stream), root.level
    handler.setFormatter(JsonLines("test"))
    root.addHandler(handler)
    root.setLevel(min(level, logging.INFO))
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session")
def astronaut() -> Path:
    """512 x 512 PNG, one face; public domain (NASA), from scikit-image."""
    return inside_package("skimage", "data/astronaut.png")


@pytest.fixture(scope="session")
def grace_hopper() -> Path:
    """512 x 606 JPEG, one face; public domain (US Navy), from matplotlib."""
    return inside_package("matplotlib", "mpl-data/sample_data/grace_hopper.jpg")


@pytest.fixture(scope="session")
def faces_dir() -> Path:
    """Photos that may not be published: the folder ``faces`` in FACEMEND_DATA."""
    folder = Path(os.environ.get("FACEMEND_DATA") or ROOT.parent / "shared") / "faces"
    if not folder.is_dir():
        pytest.skip(f"no photos: {folder} is missing; set FACEMEND_DATA to its parent folder")
    return folder


def inside_package(package: str, path: str) -> Path:
    """Return the path of a file in a package without importing the package."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / path
