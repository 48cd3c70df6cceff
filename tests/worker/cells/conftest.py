"""Two cells, each with a real Valkey and a real SeaweedFS, and two tenants in the first one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from deploy.embedded.seaweedfs import SeaweedFS
from deploy.embedded.valkey import Valkey
from shared.jobs.job import Job
from shared.jobs.store import JobStore
from shared.redis.scripts import Scripts
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.tenants.api_keys import KeyRing
from shared.tenants.moves import Moves
from shared.webhooks.outbox import Outbox


@dataclass(frozen=True)
class Cell:
    settings: Settings
    redis: Redis
    store: JobStore
    storage: ObjectStorage
    keys: KeyRing
    outbox: Outbox
    moves: Moves

    @classmethod
    def of(cls, settings: Settings, redis: Redis) -> Cell:
        client: Redis = Redis.from_url(settings.redis_url.get_secret_value(), decode_responses=True)
        scripts = Scripts(client)
        return cls(
            settings,
            redis,
            JobStore(scripts, settings),
            ObjectStorage(settings),
            KeyRing(scripts, settings.api_key_pepper),
            Outbox(scripts),
            Moves(scripts),
        )

    def write_settings(self, file: Path) -> Path:
        """Write the settings as a file of lines, and return it."""
        changed = self.settings.model_dump(include=self.settings.model_fields_set)
        lines = []
        for name, value in changed.items():
            text = value.get_secret_value() if hasattr(value, "get_secret_value") else value
            lines.append(f"FACEMEND_{name.upper()}='{text}'")
        file.write_text("\n".join(lines))
        return file


@pytest.fixture
def source(settings: Settings, redis: Redis, storage: ObjectStorage) -> Cell:
    return Cell.of(settings, redis)


@pytest.fixture(scope="module")
def other_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Valkey, SeaweedFS]]:
    with (
        Valkey(tmp_path_factory.mktemp("valkey-b")) as valkey,
        SeaweedFS(tmp_path_factory.mktemp("seaweedfs-b")) as seaweedfs,
    ):
        yield valkey, seaweedfs


@pytest.fixture
def target(other_stack: tuple[Valkey, SeaweedFS], stack_settings: dict[str, Any]) -> Iterator[Cell]:
    valkey, seaweedfs = other_stack
    admin: Redis = Redis.from_url(valkey.admin_url, decode_responses=True)
    admin.flushdb()
    theirs = stack_settings | {
        "redis_url": valkey.url,
        "s3_endpoint_url": seaweedfs.endpoint_url,
        "s3_bucket": seaweedfs.bucket,
        "s3_access_key_id": seaweedfs.access_key_id,
        "s3_secret_access_key": seaweedfs.secret_access_key,
    }
    cell = Cell.of(Settings(_env_file=None, **theirs), admin)
    cell.storage.delete([stored.key for stored in cell.storage.list("")])
    yield cell
    admin.close()


def job_of(cell: Cell, job_id: str) -> Job:
    """Return the record of a job of any tenant."""
    return cell.store.find(job_id)[0]
