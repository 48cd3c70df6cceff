from __future__ import annotations

import re

import pytest
from pydantic import SecretStr
from redis import Redis

from shared.errors import Unauthorized
from shared.settings import Settings
from shared.tenants.api_keys import KeyRing
from shared.tenants.rate_limit import Allowance, Quota, RateLimiter, refusal
from tests.shared.conftest import at_once

PEPPER = SecretStr("pepper")


class Asker:
    """A key, and how often it may ask."""

    def __init__(self, redis: Redis, requests: int, window_s: int = 600) -> None:
        self.ring, self.quota = KeyRing(redis, PEPPER), Quota(requests, window_s)
        key, self.token = self.ring.create("acme", "laptop")
        self.bucket = f"fm:rate:{key.id}"

    def take(self) -> Allowance:
        allowance = self.ring.admit(self.token, self.quota)[1]
        assert allowance is not None
        return allowance


def test_a_quota_is_used_up_and_then_refused(redis: Redis) -> None:
    asker = Asker(redis, 3)
    assert [asker.take().remaining for _ in range(3)] == [2, 1, 0]
    refused = asker.take()
    assert (refused.remaining, refused.retry_after_s) == (0, 200)  # a third of the window
    assert 599 <= refused.full_in_s <= 600
    problem = refusal(refused)
    assert (problem.http_status, problem.code, problem.retry_after_s) == (429, "rate-limited", 200)


def test_a_refused_request_costs_nothing(redis: Redis) -> None:
    asker = Asker(redis, 2)
    waits = [asker.take().retry_after_s for _ in range(12)]
    assert waits[2:] == [300] * 10


def test_the_allowance_fills_evenly(redis: Redis) -> None:
    asker = Asker(redis, 10, 100)
    for _ in range(10):
        asker.take()
    full = float(str(redis.get(asker.bucket)))
    redis.set(asker.bucket, full - 35)  # 35 s later
    assert [asker.take().remaining for _ in range(3)] == [2, 1, 0]
    assert asker.take().retry_after_s == 5


def test_after_a_pause_the_whole_quota_is_there_and_never_more(redis: Redis) -> None:
    asker = Asker(redis, 5, 1000)
    asker.take()
    redis.set(asker.bucket, 1.0)  # full since 1970
    assert asker.take().remaining == 4


def test_keys_do_not_share(redis: Redis) -> None:
    first, second = Asker(redis, 1), Asker(redis, 1)
    assert first.take().retry_after_s is None
    assert second.take().retry_after_s is None
    assert first.take().retry_after_s is not None


def test_only_who_has_the_key_uses_its_quota_up(redis: Redis) -> None:
    from shared.tenants.api_keys import _checksum

    asker = Asker(redis, 1)
    body = asker.token[:-7] + ("a" if asker.token[-7] != "a" else "b")
    for _ in range(3):
        with pytest.raises(Unauthorized):
            asker.ring.admit(body + _checksum(body), asker.quota)
    assert asker.take().retry_after_s is None


def test_a_revoked_key_is_not_counted(redis: Redis) -> None:
    asker = Asker(redis, 1)
    asker.ring.revoke(asker.bucket.removeprefix("fm:rate:"))
    with pytest.raises(Unauthorized):
        asker.take()
    assert not redis.exists(asker.bucket)


def test_processes_share(redis: Redis) -> None:
    asker = Asker(redis, 20)
    allowances = at_once(8, lambda _: [asker.take() for _ in range(5)])
    passed = [one for found in allowances for one in found if one.retry_after_s is None]
    assert len(passed) == 20


def test_zero_is_no_limit(redis: Redis) -> None:
    asker = Asker(redis, 0)
    assert asker.ring.admit(asker.token, asker.quota)[1] is None
    assert not redis.keys("fm:rate:*")


def test_a_bucket_that_is_full_again_is_forgotten(redis: Redis) -> None:
    asker = Asker(redis, 60, 60)
    asker.take()
    assert 0 < int(str(redis.pttl(asker.bucket))) <= 1000


def test_a_full_redis_still_lets_requests_pass(redis: Redis) -> None:
    asker = Asker(redis, 5, 60)
    asker.take()
    redis.config_set("maxmemory", 1)
    try:
        assert asker.take().retry_after_s is None
    finally:
        redis.config_set("maxmemory", 0)


def test_the_fields_are_written_as_the_draft_says(redis: Redis, settings: Settings) -> None:
    given = settings.model_copy(update={"rate_limit": 100, "rate_window_s": 60})
    assert RateLimiter(given).policy == '"key";q=100;w=60'
    assert re.fullmatch(r'"key";r=99;t=\d+', Asker(redis, 100, 60).take().header)
