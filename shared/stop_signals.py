"""Signals that stop a process, acted upon in a thread.

The code that a signal handler interrupts may hold any lock: that of an event, of the log, or of the
threads that are being started. So a handler only leaves a message.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event, Thread
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def in_thread(run: Callable[[], object]) -> Callable[[], None]:
    """Return a function that has a thread call ``run``; safe in a signal handler.

    The thread waits already, and calls ``run`` once.
    """
    messages = SimpleQueue[None]()  # its put() may interrupt another put()

    def wait() -> None:
        messages.get()
        run()

    Thread(target=wait, name="signals", daemon=True).start()
    return lambda: messages.put(None)


@contextmanager
def stop_event(
    on_stop: Callable[[], object] = lambda: None, on_another: Callable[[], object] = lambda: None
) -> Iterator[Event]:
    """Yield an event that SIGTERM and SIGINT set. Call it in the main thread.

    ``on_stop`` is then called in a thread. ``on_another`` is called for each further signal, in the
    signal handler.
    """
    stop, received = Event(), False

    def begin() -> None:
        stop.set()
        on_stop()

    begin_in_thread = in_thread(begin)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal received
        if received:
            on_another()
        else:
            received = True
            begin_in_thread()

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
