"""The body of a request on its way: bounded, kept on disk, and given up if it is too slow."""

from __future__ import annotations

import asyncio
import random
import tempfile
from contextlib import ExitStack
from typing import IO, cast

from api.server.resources import Resources
from api.slots import Slots
from shared.errors import MalformedRequest, RateLimited, SlowRequest, Unavailable

#: What is kept in memory; a larger body goes to a file.
MEMORY_BYTES = 65_536
#: So many bytes have to come in each window, or the rest of the body.
WINDOW_S, WINDOW_BYTES = 10.0, 10_000
#: Windows of bodies that begin together do not end together, which would take a while.
_WINDOW_SPREAD = (0.8, 1.2)
#: Pieces may be small on average only so long: each costs the loop some time.
_FREE_PIECES, _MIN_PIECE_BYTES = 1_000, 256
#: After so many pieces, others have a turn.
_PIECES_A_TURN = 32


class Body:
    """Takes the pieces of a body. A context manager: leaving it gives file and slots back."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._held = ExitStack()
        self._holder: str | None = None
        self._pieces = 0
        self.size = 0
        spool = tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 - closed by __exit__
        self.file = cast("IO[bytes]", self._held.enter_context(spool))

    def __enter__(self) -> Body:
        return self

    def __exit__(self, *exception: object) -> None:
        self._held.close()

    def admit(self, key_id: str, address: str) -> None:
        """Let the body be long, in the name of a key. Raises RateLimited, Unavailable."""
        self._hold(self._resources.bodies_of_addresses, address, "address")
        self._hold(self._resources.bodies_of_keys, key_id, "key")
        self._holder = key_id
        self._reserve(self.size)

    async def write(self, data: bytes) -> None:
        """Raises MalformedRequest, RateLimited, Unavailable."""
        self._pieces += 1
        self.size += len(data)
        if self._pieces > _FREE_PIECES + self.size / _MIN_PIECE_BYTES:
            raise MalformedRequest("The chunks of the body are too small.")
        if self._holder is not None:
            self._reserve(len(data))
        if self.size > MEMORY_BYTES:
            await self._resources.on_disk(self.file.write, data)
        else:
            self.file.write(data)
        if self._pieces % _PIECES_A_TURN == 0:
            await asyncio.sleep(0)

    def _hold(self, slots: Slots, holder: str, kind: str) -> None:
        if not slots.acquire(holder):
            if slots.taken >= slots.total:
                raise Unavailable("Too many uploads are on their way.")
            raise RateLimited(f"Too many uploads of this {kind} are on their way.")
        self._held.callback(slots.release, holder)

    def _reserve(self, count: int) -> None:
        assert self._holder is not None  # noqa: S101 - admitted
        slots = self._resources.body_bytes
        if not slots.acquire(self._holder, count):
            if slots.taken + count > slots.total:
                raise Unavailable("Too many uploads are on their way.")
            raise RateLimited("The uploads of this key that are on their way are too large.")
        self._held.callback(slots.release, self._holder, count)


class Pace:
    """Time limits for a body: one for all of it, and one for each window."""

    def __init__(self, total_s: float) -> None:
        self._now = asyncio.get_running_loop().time
        self._ends_s = self._now() + total_s
        self._window()

    def left_s(self) -> float:
        """Seconds until the next bytes have to be there."""
        return min(self._ends_s, self._window_ends_s) - self._now()

    def note(self, count: int) -> None:
        """Bytes have come in. Raises SlowRequest when time is up."""
        self._missing -= count
        if self._missing <= 0:
            self._window()
        if self.left_s() < 0:
            raise SlowRequest

    def _window(self) -> None:
        self._window_ends_s = self._now() + WINDOW_S * random.uniform(*_WINDOW_SPREAD)
        self._missing = WINDOW_BYTES
