"""The rows of the fault matrix: each is a function that breaks something and watches."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.chaos.customer import Customer
from tests.chaos.receiver import Receiver
from tests.chaos.report import Row
from tests.chaos.service import Service


@dataclass
class Run:
    """The tools of one row."""

    row: Row
    folder: Path
    seed: int

    def __post_init__(self) -> None:
        self.die = random.Random(f"{self.seed} {self.row.name}")

    def service(
        self,
        *,
        appendfsync: Literal["everysec", "always"] = "everysec",
        small_disk: bool = False,
        sentinel: bool = False,
        **settings: object,
    ) -> Service:
        """Start a new, empty service for this row."""
        folder = self.folder / f"service-{time.monotonic_ns()}"
        return Service(folder, self.seed, appendfsync, small_disk, sentinel, settings)

    def customer(
        self, service: Service, receiver: Receiver | None = None, **kwargs: Any
    ) -> Customer:
        """Return a customer of the first API process; ``receiver`` gets its webhooks."""
        (api, *_) = service.all("api")
        return Customer(service, api.url, receiver.url() if receiver else None, **kwargs)


class Skipped(Exception):  # the row says why it cannot run here
    """This machine cannot run the row."""


@dataclass(frozen=True, slots=True)
class Spec:
    """``alone``: it measures time, so no other row runs. ``long``: it mostly waits."""

    name: str
    fault: str
    bound: str
    run: Callable[[Run], None]
    alone: bool
    long: bool
    limit_s: float


SPECS: dict[str, Spec] = {}


def row(
    name: str,
    fault: str,
    bound: str,
    *,
    alone: bool = False,
    long: bool = False,
    limit_s: float = 240.0,
) -> Callable[[Callable[[Run], None]], Callable[[Run], None]]:
    """Add the function to the fault matrix."""

    def add(run: Callable[[Run], None]) -> Callable[[Run], None]:
        assert name not in SPECS, name
        SPECS[name] = Spec(name, fault, bound, run, alone, long, limit_s)
        return run

    return add
