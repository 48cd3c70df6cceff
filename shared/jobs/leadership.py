"""Leadership: of several processes, one at a time does a task of the whole service."""

from __future__ import annotations

import secrets
import time

from shared.errors import Unavailable
from shared.redis.scripts import Scripts


class Leadership:
    """The lease of one process on ``task``, made by ``JobStore.leadership``.

    If the leader dies, another process leads after at most ``lease_s`` seconds. The task must bear
    that two processes do it for a moment: a process that was stopped learns late that it lost it.
    """

    def __init__(self, scripts: Scripts, task: str, lease_s: float) -> None:
        self._scripts, self._task, self._lease_s = scripts, task, lease_s
        self._holder = secrets.token_hex(8)
        self._valid_until_s = 0.0

    def hold(self) -> bool:
        """Take or renew the lease; return whether this process leads. Raises Unavailable."""
        valid_until_s = time.monotonic() + self._lease_s  # before the lease ends in Redis
        held = self._run(self._lease_s)
        self._valid_until_s = valid_until_s if held else 0.0
        return held

    @property
    def held(self) -> bool:
        """Whether the lease still holds, by the local clock."""
        return time.monotonic() < self._valid_until_s

    def give_back(self) -> None:
        """Let another process lead at once. Never raises."""
        self._valid_until_s = 0.0
        try:
            self._run(0)
        except Unavailable:
            return  # the lease ends by itself

    def _run(self, lease_s: float) -> bool:
        return bool(
            self._scripts.run(
                "hold_leadership", task=self._task, holder=self._holder, lease_s=lease_s
            )
        )
