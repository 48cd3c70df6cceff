"""What a worker stands on, looked at before it starts: refused in words where it would not hold."""

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
_WAIT_FOR_PARTS_S = 30.0
_WRONG_KEYS = frozenset({"401", "403"})


def check_ground(settings: Settings, wait_s: float = _WAIT_FOR_PARTS_S) -> None:
    """Refuse to run on a Redis that forgets, or without Redis, storage, bucket or the right keys.

    Raises SettingsInvalid, naming what to set; Unavailable after ``wait_s`` without an answer.
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
            _refuse_wrong_keys(error.__cause__)
            if time.monotonic() > give_up_s:
                raise
            if error.detail != said:
                _log.warning("waiting: %s", said := error.detail)
            time.sleep(0.5)


def _refuse_wrong_keys(cause: BaseException | None) -> None:
    """Waiting does not turn a wrong key into a right one."""
    if isinstance(cause, redis.AuthenticationError):
        raise SettingsInvalid(
            "FACEMEND_REDIS_URL: Redis does not take this password, or asks for one"
        ) from cause
    if isinstance(cause, redis.exceptions.NoPermissionError):
        raise SettingsInvalid(
            "FACEMEND_REDIS_URL: this Redis user may not do what is needed"
        ) from cause
    if isinstance(cause, ClientError) and cause.response["Error"]["Code"] in _WRONG_KEYS:
        raise SettingsInvalid(
            "FACEMEND_S3_ACCESS_KEY_ID, FACEMEND_S3_SECRET_ACCESS_KEY: the object storage does not "
            "take these keys for this bucket"
        ) from cause
