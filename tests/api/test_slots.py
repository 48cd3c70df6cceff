from __future__ import annotations

from api.slots import Slots


def test_a_holder_gets_its_share_and_no_more() -> None:
    slots = Slots(total=5, each=3)
    assert [slots.acquire("a") for _ in range(4)] == [True, True, True, False]
    assert [slots.acquire("b") for _ in range(3)] == [True, True, False]
    assert slots.taken == 5


def test_slots_are_given_back() -> None:
    slots = Slots(total=1, each=1)
    for _ in range(3):
        assert slots.acquire("a")
        slots.release("a")
    assert slots.taken == 0


def test_bytes_are_slots_too() -> None:
    slots = Slots(total=100, each=60)
    assert slots.acquire("a", 60)
    assert not slots.acquire("a", 1)
    assert not slots.acquire("b", 41)
    assert slots.acquire("b", 40)
    slots.release("a", 60)
    assert slots.acquire("b", 20)


def test_nothing_is_kept_of_holders_that_hold_nothing() -> None:
    slots = Slots(total=1, each=1)
    for number in range(100):
        slots.acquire(str(number))
        slots.acquire(f"refused {number}")
        slots.release(str(number))
    assert not slots._taken
