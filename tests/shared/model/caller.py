"""A process that calls the store, divided into the steps between which it can die.

Each caller is a list of steps; ``run`` stops after each one, and a caller that is never resumed
was killed there. The files ``test_steps.py`` compare the lists with the product's own code.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.shared.model.world import World

MODEL = "starter"
TENANTS = ("acme", "globex")


@dataclass(frozen=True)
class StepOrders:
    """What each caller does, in order."""

    submission: tuple[str, ...] = ("reserve", "upload", "manifest", "create", "respond")
    run: tuple[str, ...] = (
        "claim",
        "fetch",
        "find_equal",
        "enter",
        "restore",
        "put",
        "seal",
        "finish",
        "remove_manifest",
    )
    delivery: tuple[str, ...] = ("take", "send", "record_attempt")
    expiry: tuple[str, ...] = ("claim_expired", "delete_objects", "delete_record")
    retry: tuple[str, ...] = ("read", "manifest", "retry")
    erasure: tuple[str, ...] = (
        "cancel",
        "delete_objects",
        "remove_manifest",
        "delete_record",
        "delete_objects",
    )


class Caller:
    """Does its steps in order; ``todo`` may change on the way."""

    def __init__(self, world: World, order: tuple[str, ...]) -> None:
        self.world = world
        self.todo = deque(order)

    def run(self) -> Iterator[None]:
        while self.todo:
            getattr(self, self.todo.popleft())()
            yield
