"""A worker refuses ground that would not hold, and says what to set."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from shared.errors import SettingsInvalid, Unavailable
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from worker.jobs.preflight import check_ground

WAIT_S = 0.5


@pytest.fixture
def settings_with(stack_settings: dict[str, Any]) -> Any:
    return lambda **changes: Settings(_env_file=None, **(stack_settings | changes))


@pytest.mark.usefixtures("redis", "storage")
def test_good_ground_is_taken(settings: Settings) -> None:
    check_ground(settings, WAIT_S)


def test_a_redis_that_forgets_is_refused(settings: Settings, redis: Redis) -> None:
    redis.config_set("maxmemory", "500mb")
    redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(SettingsInvalid, match=r"allkeys-lru.*noeviction"):
            check_ground(settings, WAIT_S)
    finally:
        redis.config_set("maxmemory", "0")
        redis.config_set("maxmemory-policy", "noeviction")


def test_a_wrong_redis_password_is_said_so_at_once(settings_with: Any, settings: Settings) -> None:
    address = settings.redis_url.get_secret_value().rpartition("@")[2]
    with pytest.raises(SettingsInvalid, match="FACEMEND_REDIS_URL") as raised:
        check_ground(settings_with(redis_url=f"redis://:wrong-word@{address}"), 60)
    assert "wrong-word" not in raised.value.detail


@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("name", ["s3_access_key_id", "s3_secret_access_key"])
def test_wrong_keys_of_the_storage_are_said_so_at_once(settings_with: Any, name: str) -> None:
    with pytest.raises(SettingsInvalid, match="FACEMEND_S3_ACCESS_KEY_ID"):
        check_ground(settings_with(**{name: "wrong"}), 60)


@pytest.mark.usefixtures("redis")
def test_a_storage_that_is_not_there_is_waited_for_and_then_named(settings_with: Any) -> None:
    nowhere = settings_with(s3_endpoint_url="http://127.0.0.1:1", s3_timeout_s=0.2)
    with pytest.raises(Unavailable, match="object storage"):
        check_ground(nowhere, WAIT_S)


@pytest.mark.usefixtures("redis")
def test_a_missing_bucket_is_named(settings_with: Any, object_storage: ObjectStorage) -> None:
    with pytest.raises(SettingsInvalid, match="FACEMEND_S3_BUCKET"):
        check_ground(settings_with(s3_bucket="no-such-bucket"), 60)
