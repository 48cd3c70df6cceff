"""Startup checks of Redis and S3: fail fast, and name the setting to fix."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import redis
from botocore.exceptions import ClientError

from shared.errors import BucketMissing, SettingsInvalid, Unavailable
from shared.jobs.store import JobStore
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage

_log = logging.getLogger(__name__)
_WAIT_S = 30.0
_WRONG_KEYS = frozenset({"401", "403"})


def run_preflight(settings: Settings, wait_s: float = _WAIT_S) -> None:
    """Check that Redis never evicts keys, and that Redis, storage, bucket and keys work.

    Raises SettingsInvalid, which names the setting; Unavailable after ``wait_s`` seconds.
    """
    store, storage = JobStore.connect(settings), ObjectStorage(settings)
    _wait_for(store.ping, wait_s)
    store.check_policy()
    _wait_for(storage.ping, wait_s)


def _wait_for(ping: Callable[[], None], wait_s: float) -> None:
    give_up_s, said = time.monotonic() + wait_s, ""
    while True:
        try:
            return ping()
        except BucketMissing as error:
            raise SettingsInvalid(
                "FACEMEND_S3_BUCKET: the object storage has no bucket of that name"
            ) from error
        except Unavailable as error:
            _raise_for_wrong_keys(error.__cause__)
            if time.monotonic() > give_up_s:
                raise
            if error.detail != said:
                _log.warning("waiting: %s", said := error.detail)
            time.sleep(0.5)


def _raise_for_wrong_keys(cause: BaseException | None) -> None:
    """Raise SettingsInvalid at once for a wrong key: waiting does not help."""
    if isinstance(cause, redis.AuthenticationError):
        raise SettingsInvalid(
            "FACEMEND_REDIS_URL: Redis refuses this password, or needs one"
        ) from cause
    if isinstance(cause, redis.exceptions.NoPermissionError):
        raise SettingsInvalid("FACEMEND_REDIS_URL: this Redis user lacks a permission") from cause
    if isinstance(cause, ClientError) and cause.response["Error"]["Code"] in _WRONG_KEYS:
        raise SettingsInvalid(
            "FACEMEND_S3_ACCESS_KEY_ID, FACEMEND_S3_SECRET_ACCESS_KEY: the object storage refuses "
            "these keys for this bucket"
        ) from cause
