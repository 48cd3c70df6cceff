"""How a child died, and which of the jobs in its hands may have been the cause."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

#: The line of Python's fault handler for the thread that did it.
_AT_FAULT = re.compile(r"^Current thread 0x([0-9a-f]+)", re.MULTILINE)


@dataclass(slots=True, eq=False)
class Hand:
    """One job in the child's hands."""

    job_id: str
    marked: bool = False  # a suspect already
    thread: int | None = None  # of the child, once the job has begun
    silent_s: float = 0.0


def suspects(hands: Sequence[Hand], stack: str, stalled_s: float | None) -> tuple[str, ...]:
    """Those that may have been the cause: one if it is known, else all.

    ``stack``: the last words of a crash. They name the thread, and each job has one of its own;
    but what a batch of several jobs' faces does happens in a thread of nobody.
    ``stalled_s``: the child was killed for so much silence. Whoever had just spoken is innocent.
    """
    found = _AT_FAULT.search(stack)
    if found:
        thread = int(found[1], 16)
        guilty = [hand for hand in hands if hand.thread == thread]
    elif stalled_s is not None:
        guilty = [hand for hand in hands if hand.silent_s > stalled_s / 2]
    else:
        guilty = []
    return tuple(hand.job_id for hand in guilty or hands)


def in_words(code: int) -> str:
    """What an exit status means."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
