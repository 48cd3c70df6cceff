from __future__ import annotations

import os
import signal
import threading

import pytest

from shared.stop_signals import in_thread, stop_event


def signal_us(number: signal.Signals = signal.SIGTERM) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sets_the_event_and_then_runs_what_belongs_to_it(number: signal.Signals) -> None:
    seen: list[bool] = []
    said = threading.Event()
    with stop_event(lambda: (seen.append(stop.is_set()), said.set())) as stop:
        assert not stop.is_set()
        signal_us(number)
        assert stop.wait(5)
        assert said.wait(5)
    assert seen == [True]


def test_a_signal_may_interrupt_code_that_holds_the_lock_of_the_event() -> None:
    with stop_event() as stop:
        with stop._cond:  # type: ignore[attr-defined]  # where wait() holds it, too
            signal_us()
        assert stop.wait(5)


def test_a_further_signal_raises_in_the_main_thread_what_it_shall() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with stop_event(on_another=interrupt):
        signal_us()
        with pytest.raises(KeyboardInterrupt):
            signal_us()


def test_afterwards_the_signals_do_what_they_did_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_event():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_function_for_handlers_runs_once_in_a_thread_of_its_own() -> None:
    ran: list[threading.Thread] = []
    done = threading.Event()
    ask = in_thread(lambda: (ran.append(threading.current_thread()), done.set()))
    ask()
    ask()
    assert done.wait(5)
    assert len(ran) == 1
    assert ran[0] is not threading.current_thread()
