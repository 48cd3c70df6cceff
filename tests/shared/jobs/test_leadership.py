from __future__ import annotations

import socket

import pytest
from redis import Redis

from shared.errors import Unavailable
from shared.jobs.leadership import Leadership
from shared.jobs.store import JobStore
from shared.redis.scripts import Scripts


@pytest.fixture
def pair(store: JobStore) -> tuple[Leadership, Leadership]:
    return store.leadership("sweep", 20.0), store.leadership("sweep", 20.0)


Pair = tuple[Leadership, Leadership]


def test_one_process_leads_and_renews_while_the_other_stands_by(pair: Pair) -> None:
    first, second = pair
    assert [first.hold(), second.hold(), first.hold()] == [True, False, True]
    assert (first.held, second.held) == (True, False)


def test_the_other_leads_once_the_leader_gives_back(pair: Pair) -> None:
    first, second = pair
    first.hold()
    first.give_back()
    assert not first.held
    assert second.hold()
    first.give_back()  # takes nothing from the new leader
    assert not first.hold()


def test_the_other_leads_once_the_lease_of_a_dead_leader_has_ended(
    pair: Pair, redis: Redis
) -> None:
    first, second = pair
    first.hold()
    redis.pexpire("fm:leader:sweep", 1)
    while redis.exists("fm:leader:sweep"):
        pass
    assert second.hold()
    assert not first.hold()
    assert not first.held


def test_each_task_has_a_leader_of_its_own(store: JobStore) -> None:
    assert store.leadership("sweep", 20.0).hold()
    assert store.leadership("export", 20.0).hold()


def test_without_redis_nobody_begins_to_lead() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # and nobody listens
        client: Redis = Redis(port=reserved.getsockname()[1], decode_responses=True)
        lost = Leadership(Scripts(client), "sweep", 20.0)
        with pytest.raises(Unavailable):
            lost.hold()
        assert not lost.held
        lost.give_back()
