from __future__ import annotations

import re
from typing import Any

from redis import Redis

from shared.ratelimit import Allowance, RateLimiter, refusal
from shared.settings import Settings
from tests.shared.conftest import at_once


def limiter(redis: Redis, settings: Settings, **changes: Any) -> RateLimiter:
    return RateLimiter(redis, settings.model_copy(update=changes))


def take(rates: RateLimiter, key_id: str = "key_1") -> Allowance:
    allowance = rates.take(key_id)
    assert allowance is not None
    return allowance


def test_a_quota_is_used_up_and_then_refused(redis: Redis, settings: Settings) -> None:
    rates = limiter(redis, settings, rate_limit=3, rate_window_s=600)
    assert [take(rates).remaining for _ in range(3)] == [2, 1, 0]
    refused = take(rates)
    assert (refused.remaining, refused.retry_after_s) == (0, 200)  # a third of the window
    assert 599 <= refused.full_in_s <= 600
    problem = refusal(refused)
    assert (problem.http_status, problem.code, problem.retry_after_s) == (429, "rate-limited", 200)


def test_a_refused_request_costs_nothing(redis: Redis, settings: Settings) -> None:
    rates = limiter(redis, settings, rate_limit=2, rate_window_s=600)
    waits = [take(rates).retry_after_s for _ in range(12)]
    assert waits[2:] == [300] * 10


def test_the_allowance_fills_evenly(redis: Redis, settings: Settings) -> None:
    rates = limiter(redis, settings, rate_limit=10, rate_window_s=100)
    for _ in range(10):
        take(rates)
    full = float(str(redis.get("fm:rate:key_1")))
    redis.set("fm:rate:key_1", full - 35)  # 35 s later
    assert [take(rates).remaining for _ in range(3)] == [2, 1, 0]
    assert take(rates).retry_after_s == 5


def test_after_a_pause_the_whole_quota_is_there_and_never_more(
    redis: Redis, settings: Settings
) -> None:
    rates = limiter(redis, settings, rate_limit=5, rate_window_s=1000)
    take(rates)
    redis.set("fm:rate:key_1", 1.0)  # full since 1970
    assert take(rates).remaining == 4


def test_keys_do_not_share(redis: Redis, settings: Settings) -> None:
    rates = limiter(redis, settings, rate_limit=1, rate_window_s=600)
    assert take(rates).retry_after_s is None
    assert take(rates, "key_2").retry_after_s is None
    assert take(rates).retry_after_s is not None


def test_processes_share(redis: Redis, settings: Settings) -> None:
    both = [limiter(redis, settings, rate_limit=20, rate_window_s=600) for _ in range(2)]
    allowances = at_once(8, lambda number: [take(both[number % 2]) for _ in range(5)])
    passed = [one for found in allowances for one in found if one.retry_after_s is None]
    assert len(passed) == 20


def test_zero_is_no_limit(redis: Redis, settings: Settings) -> None:
    assert limiter(redis, settings, rate_limit=0).take("key_1") is None
    assert not redis.keys("fm:rate:*")


def test_a_bucket_that_is_full_again_is_forgotten(redis: Redis, settings: Settings) -> None:
    take(limiter(redis, settings, rate_limit=60, rate_window_s=60))
    assert 0 < int(str(redis.pttl("fm:rate:key_1"))) <= 1000


def test_a_full_redis_still_lets_requests_pass(redis: Redis, settings: Settings) -> None:
    rates = limiter(redis, settings, rate_limit=5, rate_window_s=60)
    take(rates)
    redis.config_set("maxmemory", 1)
    try:
        assert take(rates).retry_after_s is None
    finally:
        redis.config_set("maxmemory", 0)


def test_the_fields_are_written_as_the_draft_says(redis: Redis, settings: Settings) -> None:
    rates = limiter(redis, settings, rate_limit=100, rate_window_s=60)
    assert rates.policy == '"key";q=100;w=60'
    assert re.fullmatch(r'"key";r=99;t=\d+', take(rates).header)
