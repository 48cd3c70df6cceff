"""A real Valkey and a real SeaweedFS for the whole session; each test finds them empty."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from deploy.embedded.seaweedfs import SeaweedFS
from deploy.embedded.valkey import Valkey
from shared.settings import Settings

if TYPE_CHECKING:
    from shared.jobs.store import JobStore
    from shared.storage.bucket import ObjectStorage

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True, scope="session")
def _no_settings_of_the_developer() -> None:
    """What a developer's shell sets for the product is no business of the tests."""
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
    """The settings that point at both servers, for ``Settings`` or, as strings, an environment."""
    return {
        "redis_url": valkey.url,
        "s3_endpoint_url": seaweedfs.endpoint_url,
        "s3_bucket": seaweedfs.bucket,
        "s3_access_key_id": seaweedfs.access_key_id,
        "s3_secret_access_key": seaweedfs.secret_access_key,
        "api_key_pepper": "pepper-of-the-tests",
        "allow_private_addresses": True,
        "log_format": "text",
    }


@pytest.fixture
def settings(stack_settings: dict[str, Any]) -> Settings:
    return Settings(_env_file=None, **stack_settings)


@pytest.fixture
def redis(valkey: Valkey) -> Iterator[Redis]:
    """Empty at the start of each test."""
    client: Redis = Redis.from_url(valkey.url, decode_responses=True)
    client.flushdb()
    yield client
    client.close()


@pytest.fixture(scope="session")
def object_storage(stack_settings: dict[str, Any]) -> Iterator[ObjectStorage]:
    """Made once: boto3 reads its service models anew for each client, half a second a time."""
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
def store(redis: Redis, settings: Settings) -> JobStore:
    from shared.jobs.store import JobStore

    return JobStore(redis, settings)


@pytest.fixture(scope="session")
def astronaut() -> Path:
    """512 x 512 PNG, one face; public domain (NASA), carried by scikit-image."""
    return _inside_package("skimage", "data/astronaut.png")


@pytest.fixture(scope="session")
def grace_hopper() -> Path:
    """512 x 606 JPEG, one face; public domain (US Navy), carried by matplotlib."""
    return _inside_package("matplotlib", "mpl-data/sample_data/grace_hopper.jpg")


@pytest.fixture(scope="session")
def faces_dir() -> Path:
    """Photos that are not ours to publish: the folder ``faces`` in FACEMEND_DATA (../shared)."""
    folder = Path(os.environ.get("FACEMEND_DATA") or ROOT.parent / "shared") / "faces"
    if not folder.is_dir():
        pytest.skip(f"no photos: {folder} is missing; set FACEMEND_DATA to the folder above it")
    return folder


def _inside_package(package: str, path: str) -> Path:
    """The file as the package has it, without importing the package."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / path
