from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from shared.errors import Unauthorized, Unavailable
from shared.jobs.store import JobStore
from shared.manifests.installation import Installation
from shared.redis.scripts import Scripts
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import KEY_COPIES
from shared.tenants.api_keys import KeyRing
from worker.notifier.key_backup import KeyBackup


@pytest.fixture
def ring(redis: Redis, settings: Settings) -> KeyRing:
    return KeyRing(Scripts(redis), settings.api_key_pepper)


@pytest.fixture
def process(store: JobStore, storage: ObjectStorage, ring: KeyRing) -> Callable[[], KeyBackup]:
    """Each call is a process of its own."""
    return lambda: KeyBackup(ring, storage, Installation(store.recovery, storage))


def test_a_copy_is_written_only_if_a_key_has_changed(
    process: Callable[[], KeyBackup], ring: KeyRing, storage: ObjectStorage
) -> None:
    copies = process()
    assert copies.save()
    assert not copies.save()
    made, _ = ring.create("acme", "shop")
    assert copies.save()
    assert not copies.save()
    ring.revoke(made.id)
    assert copies.save()
    ring.rotate_webhook_secret("acme")
    assert copies.save()
    assert storage.get(KEY_COPIES, max_bytes=10_000).decode() == ring.copy()
    assert not process().save()  # another process finds it written


def test_an_emptied_redis_does_not_empty_the_copy(
    process: Callable[[], KeyBackup], ring: KeyRing, redis: Redis, storage: ObjectStorage
) -> None:
    _, token = ring.create("acme", "shop")
    copies = process()
    copies.save()
    written = storage.get(KEY_COPIES, max_bytes=10_000)
    redis.flushdb()
    for each in (copies, process()):
        with pytest.raises(Unavailable):
            each.save()
    assert storage.get(KEY_COPIES, max_bytes=10_000) == written
    assert process().restore() == 1
    assert ring.authenticate(token).tenant == "acme"


@pytest.mark.parametrize("restarted", [False, True])
def test_keys_that_an_older_redis_lacks_are_restored_from_the_copy(
    process: Callable[[], KeyBackup], ring: KeyRing, redis: Redis, restarted: bool
) -> None:
    old, old_token = ring.create("acme", "old")
    copies = process()
    copies.save()
    _, token = ring.create("acme", "new")
    made = ring.list()[-1]
    ring.revoke(old.id)
    copies.save()

    redis.delete(f"fm:key:{made.id}")  # the last second of Redis is lost
    redis.zrem("fm:keys", made.id)
    redis.hdel(f"fm:key:{old.id}", "revoked")
    (process() if restarted else copies).save()
    assert ring.authenticate(token).name == "new"
    with pytest.raises(Unauthorized):
        ring.authenticate(old_token)


def test_without_a_copy_no_key_is_restored(process: Callable[[], KeyBackup]) -> None:
    assert process().restore() == 0
