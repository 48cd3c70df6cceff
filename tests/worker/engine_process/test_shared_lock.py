"""Jobs go to the engine together, a suspect goes alone, and nobody waits for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from worker.engine_process.shared_lock import Gate

WAIT_S = 5.0


def go_on() -> None:
    """Wait as long as it takes."""


class Visitor(threading.Thread):
    """Goes through the gate, stays until told to leave."""

    def __init__(self, gate: Gate, *, alone: bool) -> None:
        super().__init__(daemon=True)
        self.gate, self.alone = gate, alone
        self.inside, self.leave = threading.Event(), threading.Event()

    def run(self) -> None:
        with self.gate.passing(go_on, alone=self.alone):
            self.inside.set()
            self.leave.wait(WAIT_S)


@pytest.fixture
def gate() -> Gate:
    """Suspects have no patience: those who come later wait from the first moment."""
    return Gate(patience_s=0)


@pytest.fixture
def send(gate: Gate) -> Iterator[Callable[..., Visitor]]:
    """Send somebody to the gate; he has asked for entry when this returns."""
    visitors: list[Visitor] = []

    def send(*, alone: bool = False) -> Visitor:
        waiting = len(gate._together) + len(gate._alone) + gate._inside
        visitor = Visitor(gate, alone=alone)
        visitors.append(visitor)
        visitor.start()
        give_up_s = time.monotonic() + WAIT_S
        while len(gate._together) + len(gate._alone) + gate._inside == waiting:
            assert time.monotonic() < give_up_s
            time.sleep(0.001)
        return visitor

    yield send
    for visitor in visitors:
        visitor.leave.set()
    for visitor in visitors:
        visitor.join(WAIT_S)
        assert not visitor.is_alive()


@contextmanager
def kept_waiting(*visitors: Visitor) -> Iterator[None]:
    """None of them comes in before the block's end."""
    yield
    time.sleep(0.05)
    assert not any(visitor.inside.is_set() for visitor in visitors)


def test_jobs_are_at_the_engine_together(send: Callable[..., Visitor]) -> None:
    assert all(send().inside.wait(WAIT_S) for _ in range(3))


def test_a_suspect_waits_until_it_is_alone_and_others_wait_for_it(
    send: Callable[..., Visitor],
) -> None:
    first = send()
    suspect = send(alone=True)
    later = send()
    with kept_waiting(suspect, later):
        pass
    first.leave.set()
    assert suspect.inside.wait(WAIT_S)
    with kept_waiting(later):
        pass
    suspect.leave.set()
    assert later.inside.wait(WAIT_S)


def test_two_suspects_are_never_there_at_once_and_the_others_go_in_between(
    send: Callable[..., Visitor],
) -> None:
    first, second = send(alone=True), send(alone=True)
    others = [send(), send()]
    assert first.inside.wait(WAIT_S)
    with kept_waiting(second, *others):
        pass
    first.leave.set()
    assert all(other.inside.wait(WAIT_S) for other in others)
    with kept_waiting(second):
        others[0].leave.set()
    others[1].leave.set()
    assert second.inside.wait(WAIT_S)


@pytest.mark.parametrize("gate", [Gate(patience_s=60)])
def test_a_suspect_lets_others_pass_for_a_while_and_goes_when_nobody_is_there(
    send: Callable[..., Visitor],
) -> None:
    first = send()
    suspect = send(alone=True)
    later = send()
    assert later.inside.wait(WAIT_S)
    with kept_waiting(suspect):
        first.leave.set()
    later.leave.set()
    assert suspect.inside.wait(WAIT_S)


def test_who_gives_up_is_in_nobodys_way(gate: Gate, send: Callable[..., Visitor]) -> None:
    def give_up() -> None:
        raise TimeoutError

    inside = send()
    with ExitStack() as stack, pytest.raises(TimeoutError):
        stack.enter_context(gate.passing(give_up, alone=True))
    assert send().inside.wait(WAIT_S)
    assert inside.inside.is_set()
