"""A Redis and a bucket that belong together, and the ways in which they may not."""

from __future__ import annotations

import pytest
from redis import Redis

from shared.errors import Unavailable
from shared.jobs.store import JobStore
from shared.manifests.installation import Installation
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import INSTALLATION
from tests.shared.conftest import at_once


@pytest.fixture
def installation(store: JobStore, storage: ObjectStorage) -> Installation:
    return Installation(store.recovery, storage)


def test_a_new_pair_gets_one_name_whoever_comes_first(installation: Installation) -> None:
    names = at_once(8, lambda _: installation.name())
    assert len(set(names)) == 1
    assert installation.name() == names[0]


def test_an_emptied_redis_is_noticed_until_it_is_adopted(
    installation: Installation, redis: Redis
) -> None:
    name = installation.name()
    redis.flushdb()
    with pytest.raises(Unavailable, match="facemend rebuild"):
        installation.name()
    installation.check_adoptable()
    assert installation.adopt() == name
    assert installation.name() == name
    assert installation.adopt() == name


def test_a_redis_of_another_bucket_is_never_adopted(
    installation: Installation, redis: Redis, storage: ObjectStorage
) -> None:
    installation.name()
    storage.delete([INSTALLATION])
    storage.put(INSTALLATION, b"another", "text/plain")
    for call in (installation.name, installation.check_adoptable, installation.adopt):
        with pytest.raises(Unavailable, match="different installations"):
            call()


def test_an_emptied_bucket_gets_the_name_again(
    installation: Installation, storage: ObjectStorage
) -> None:
    name = installation.name()
    storage.delete([INSTALLATION])
    assert installation.name() == name
    assert storage.get(INSTALLATION, max_bytes=100) == name.encode()


def test_in_a_new_pair_there_is_nothing_to_adopt(installation: Installation) -> None:
    installation.check_adoptable()
    assert installation.adopt() == installation.name()
