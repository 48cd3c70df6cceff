"""The report of a batch that has run, and whose crops were in it. Without numpy or torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

_owner: ContextVar[str] = ContextVar("owner", default="")


@contextmanager
def crops_of(owner: str) -> Iterator[None]:
    """Give the crops that this block submits an owner, whom `BatchReport` names."""
    token = _owner.set(owner)
    try:
        yield
    finally:
        _owner.reset(token)


def current_owner() -> str:
    """Return the owner of the crops that are submitted here."""
    return _owner.get()


@dataclass(frozen=True, slots=True)
class BatchReport:
    """A batch that has run.

    ``began_at``: Unix seconds. ``run_s``: seconds on the device. ``waits_s`` and ``owners`` have
    one entry for each crop: the seconds that it waited, and its owner (``crops_of``) or "".
    """

    began_at: float
    run_s: float
    waits_s: Sequence[float]
    owners: Sequence[str]
