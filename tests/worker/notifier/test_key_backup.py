from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from shared.errors import Unauthorized, Unavailable
from shared.jobs.store import JobStore
from shared.manifests.installation import Installation
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import KEY_COPIES
from shared.tenants.api_keys import KeyRing
from worker.notifier.key_backup import KeyCopies


@pytest.fixture
def ring(redis: Redis, settings: Settings) -> KeyRing:
    return KeyRing(redis, settings.api_key_pepper)


@pytest.fixture
def process(store: JobStore, storage: ObjectStorage, ring: KeyRing) -> Callable[[], KeyCopies]:
    """Each call is a process of its own."""
    return lambda: KeyCopies(ring, storage, Installation(store.recovery, storage))


def test_it_writes_when_something_has_changed_and_only_then(
    process: Callable[[], KeyCopies], ring: KeyRing, storage: ObjectStorage
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


def test_an_emptied_redis_never_empties_the_copy(
    process: Callable[[], KeyCopies], ring: KeyRing, redis: Redis, storage: ObjectStorage
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
def test_a_redis_put_back_in_time_gets_back_what_it_has_forgotten(
    process: Callable[[], KeyCopies], ring: KeyRing, redis: Redis, restarted: bool
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


def test_without_a_copy_there_is_nothing_to_restore(process: Callable[[], KeyCopies]) -> None:
    assert process().restore() == 0
