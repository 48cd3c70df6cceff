"""Which models are served: what workers said lately."""

from __future__ import annotations

from dataclasses import replace

from redis import Redis

from shared.jobs.store import JobStore, ServedModel
from shared.jobs.workers import SILENT_S
from tests.shared.conftest import redis_time

STARTER = ServedModel("starter", "e" * 64, 128, "Apache-2.0", "fp32", "torch", 12.5)
BIG = replace(STARTER, name="big", size_px=512, ms_per_face=None)


def fall_silent(redis: Redis, worker: str) -> None:
    redis.zadd("fm:workers", {worker: redis_time(redis) - SILENT_S})


def test_models_of_all_live_workers_are_served_each_once(store: JobStore) -> None:
    store.announce("a-1", [STARTER])
    store.announce("b-1", [BIG, STARTER])
    assert store.served_models() == [BIG, STARTER]


def test_without_workers_nothing_is_served(store: JobStore) -> None:
    assert store.served_models() == []


def test_the_latest_word_counts(store: JobStore) -> None:
    store.announce("a-1", [STARTER])
    store.announce("b-1", [replace(STARTER, ms_per_face=7.0)])
    assert store.served_models() == [replace(STARTER, ms_per_face=7.0)]
    store.announce("a-1", [STARTER])
    assert store.served_models() == [STARTER]


def test_a_silent_worker_serves_nothing(store: JobStore, redis: Redis) -> None:
    store.announce("a-1", [STARTER])
    store.announce("b-1", [BIG])
    fall_silent(redis, "a-1")
    assert store.served_models() == [BIG]


def test_silent_workers_are_forgotten(store: JobStore, redis: Redis) -> None:
    store.announce("a-1", [STARTER])
    fall_silent(redis, "a-1")
    store.announce("b-1", [BIG])
    assert redis.hkeys("fm:workers:models") == ["b-1"]


def test_a_host_is_alive_while_one_of_its_workers_is_heard(store: JobStore, redis: Redis) -> None:
    store.announce("gpu-box-17", [STARTER])
    assert store.worker_alive("gpu-box")
    assert not store.worker_alive("gpu")
    fall_silent(redis, "gpu-box-17")
    assert not store.worker_alive("gpu-box")


def test_what_a_newer_worker_adds_is_ignored(store: JobStore, redis: Redis) -> None:
    store.announce("a-1", [STARTER])
    said = redis.hget("fm:workers:models", "a-1")
    redis.hset("fm:workers:models", "a-1", said.replace("{", '{"colour":"blue",'))
    assert store.served_models() == [STARTER]
