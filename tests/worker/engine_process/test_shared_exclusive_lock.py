"""Jobs share the engine process, a suspect has it alone, and no job waits for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from worker.engine_process.shared_exclusive_lock import SharedExclusiveLock

WAIT_S = 5.0


def go_on() -> None:
    """Keep waiting."""


class Holder(threading.Thread):
    """A thread that holds the lock until ``leave`` is set."""

    def __init__(self, lock: SharedExclusiveLock, *, exclusive: bool) -> None:
        super().__init__(daemon=True)
        self.lock, self.exclusive = lock, exclusive
        self.holds, self.leave = threading.Event(), threading.Event()

    def run(self) -> None:
        with self.lock.hold(go_on, exclusive=self.exclusive):
            self.holds.set()
            self.leave.wait(WAIT_S)


@pytest.fixture
def lock() -> SharedExclusiveLock:
    """Shared holders wait for an exclusive one from the first moment."""
    return SharedExclusiveLock(max_wait_s=0)


@pytest.fixture
def start(lock: SharedExclusiveLock) -> Iterator[Callable[..., Holder]]:
    """Start a holder; it has asked for the lock when this returns."""
    holders: list[Holder] = []

    def start(*, exclusive: bool = False) -> Holder:
        waiting = len(lock._waiting_shared) + len(lock._waiting_exclusive) + lock._holders
        holder = Holder(lock, exclusive=exclusive)
        holders.append(holder)
        holder.start()
        give_up_s = time.monotonic() + WAIT_S
        while len(lock._waiting_shared) + len(lock._waiting_exclusive) + lock._holders == waiting:
            assert time.monotonic() < give_up_s
            time.sleep(0.001)
        return holder

    yield start
    for holder in holders:
        holder.leave.set()
    for holder in holders:
        holder.join(WAIT_S)
        assert not holder.is_alive()


@contextmanager
def kept_waiting(*holders: Holder) -> Iterator[None]:
    """None of them gets the lock before the end of the block."""
    yield
    time.sleep(0.05)
    assert not any(holder.holds.is_set() for holder in holders)


def test_shared_holders_hold_the_lock_together(start: Callable[..., Holder]) -> None:
    assert all(start().holds.wait(WAIT_S) for _ in range(3))


def test_an_exclusive_holder_waits_for_the_others_and_later_ones_wait_for_it(
    start: Callable[..., Holder],
) -> None:
    first = start()
    exclusive = start(exclusive=True)
    later = start()
    with kept_waiting(exclusive, later):
        pass
    first.leave.set()
    assert exclusive.holds.wait(WAIT_S)
    with kept_waiting(later):
        pass
    exclusive.leave.set()
    assert later.holds.wait(WAIT_S)


def test_two_exclusive_holders_never_overlap_and_the_shared_ones_go_between_them(
    start: Callable[..., Holder],
) -> None:
    first, second = start(exclusive=True), start(exclusive=True)
    others = [start(), start()]
    assert first.holds.wait(WAIT_S)
    with kept_waiting(second, *others):
        pass
    first.leave.set()
    assert all(other.holds.wait(WAIT_S) for other in others)
    with kept_waiting(second):
        others[0].leave.set()
    others[1].leave.set()
    assert second.holds.wait(WAIT_S)


@pytest.mark.parametrize("lock", [SharedExclusiveLock(max_wait_s=60)])
def test_an_exclusive_holder_lets_others_pass_for_a_while(
    start: Callable[..., Holder],
) -> None:
    first = start()
    exclusive = start(exclusive=True)
    later = start()
    assert later.holds.wait(WAIT_S)
    with kept_waiting(exclusive):
        first.leave.set()
    later.leave.set()
    assert exclusive.holds.wait(WAIT_S)


def test_a_holder_that_gives_up_does_not_block_others(
    lock: SharedExclusiveLock, start: Callable[..., Holder]
) -> None:
    def give_up() -> None:
        raise TimeoutError

    holds = start()
    with ExitStack() as stack, pytest.raises(TimeoutError):
        stack.enter_context(lock.hold(give_up, exclusive=True))
    assert start().holds.wait(WAIT_S)
    assert holds.holds.is_set()
