"""Record the steps of the product's own code, to compare them with those of the state machine."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

#: Calls of the store and of the doorbell, by the names that ``caller.StepOrders`` has for them.
CALLS = {
    "begin": "reserve",
    "create": "create",
    "ring": "ring",
    "claim": "claim",
    "find_equal": "find_equal",
    "finish": "finish",
    "cancel": "cancel",
    "retry": "retry",
    "erase": "delete_record",
    "expire": "delete_record",
    "claim_expired": "claim_expired",
    "take": "take",
    "record_attempt": "record_attempt",
}


#: Parts of the store, watched like the store itself.
PARTS = ("idempotency", "runs")


class Watched:
    """Passes each call on to ``real`` and records the step that it is."""

    def __init__(self, real: Any, steps: list[str], known: dict[str, str] | None = None) -> None:
        self._real, self._steps, self._known = real, steps, CALLS if known is None else known

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name in PARTS:
            return Watched(found, self._steps, self._known)
        return functools.partial(self._call, name, found) if callable(found) else found

    def _call(self, name: str, real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        step = self._step(name, args)
        if step and step not in self._steps[-1:]:
            self._steps.append(step)
        return real(*args, **kwargs)

    def _step(self, name: str, args: tuple[Any, ...]) -> str | None:
        return self._known.get(name)


#: Calls of the storage: the first line whose key has these words in it.
OBJECTS = (
    ("put", "/outcome.json", "seal"),
    ("put", "jobs/", "manifest"),
    ("put", "/inputs/", "upload"),
    ("put", "/results/", "put"),
    ("get", "/inputs/", "fetch"),
    ("head", "/inputs/", "read"),
    ("delete", "jobs/", "remove_manifest"),
    ("delete", "/", "delete_objects"),
)


class WatchedStorage(Watched):
    """A storage whose keys tell the step."""

    def _step(self, name: str, args: tuple[Any, ...]) -> str | None:
        key = "".join(args[0]) if args else ""
        steps = (step for call, words, step in OBJECTS if call == name and words in key)
        return next(steps, None)
