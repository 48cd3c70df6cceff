"""The loop: look, restore what has arrived, wait until something changes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from watchfiles import watch

from facemend.folder.record import Record
from facemend.folder.result_names import ResultNames
from facemend.folder.run import Errand
from worker.commands.watch.inbox import Inbox
from worker.commands.watch.restorers import Attempt, OnePhoto

#: A photo that fails so often for reasons that may pass is set aside, too.
_MAX_TRIES = 5
_PAUSE_S = 10.0  # after an error that would meet every photo, and before another try of a photo


@dataclass
class Watching:
    """Restores the photos of ``inbox`` into ``output``, ``in_flight`` at a time.

    ``say`` gets a line for each photo and each change of the situation.
    """

    inbox: Inbox
    output: Path
    record: Record
    names: ResultNames
    restore: OnePhoto
    say: Callable[[str], None]
    in_flight: int = 4
    every_s: float = 5.0
    failures: int = 0
    _tries: Counter[Path] = field(default_factory=Counter)
    _not_before: dict[Path, float] = field(default_factory=dict)
    _targets: dict[str, Path] = field(default_factory=dict)  # of photos that are tried again, too
    _trouble: str = ""

    def run(self, stop: Event, *, once: bool = False) -> None:
        """Go on until ``stop``, or with ``once`` until everything that is there is done.

        Raises SettingsInvalid.
        """
        while not stop.is_set():
            calm = self._round(stop)
            if once and calm and self.inbox.settled and not self._not_before:
                return
            self._wait(stop, 0.2 if once else self.every_s)
            if not calm:
                stop.wait(1.0 if once else _PAUSE_S)

    def _round(self, stop: Event) -> bool:
        """Look once and restore what is whole. Return False if something is wrong for all."""
        try:
            photos = [photo for photo in self.inbox.whole() if self._is_to_do(photo)]
        except OSError as error:
            return self._in_trouble(f"{self.inbox.photos.path}: {error.strerror}; waiting for it")
        if photos and not self.output.is_dir():
            return self._in_trouble(f"{self.output} is gone; waiting for it")
        calm = True
        with ThreadPoolExecutor(self.in_flight) as pool:
            for photo, attempt in pool.map(lambda photo: self._one(photo, stop), photos):
                if attempt is not None:
                    calm = self._settle(photo, attempt) and calm
        if calm and self._trouble:
            self._trouble = ""
            self.say("going on")
        return calm

    def _is_to_do(self, photo: Path) -> bool:
        name = self.inbox.photos.name_of(photo)
        if self.record.result_of(name, photo) is not None:
            return False
        return self._not_before.get(photo, 0.0) <= time.monotonic()

    def _one(self, photo: Path, stop: Event) -> tuple[Path, Attempt | None]:
        if stop.is_set():
            return photo, None
        name = self.inbox.photos.name_of(photo)
        target = self._targets.get(name) or self.record.result_before(name)
        self._targets[name] = target = target or self.names.claim(self.output / name)
        return photo, self.restore(Errand(photo, name, target))

    def _settle(self, photo: Path, attempt: Attempt) -> bool:
        """Say what became of a photo, and do what follows. Return False if all must wait."""
        self._not_before.pop(photo, None)
        if attempt.status == "done":
            self._tries.pop(photo, None)
            self.say(
                f"{photo} → {attempt.result}" + (f" ({attempt.reason})" * bool(attempt.reason))
            )
            return True
        if attempt.everywhere:
            return self._in_trouble(attempt.reason)
        if self.inbox.has_changed(photo):
            return True  # it was still being written, or moved away: the next look decides
        self._tries[photo] += 1
        if attempt.status == "later" and self._tries[photo] < _MAX_TRIES:
            self._not_before[photo] = time.monotonic() + _PAUSE_S
            self.say(f"{photo}: {attempt.reason}; trying again")
            return True
        return self._give_up(photo, attempt.reason)

    def _give_up(self, photo: Path, reason: str) -> bool:
        try:
            aside = self.inbox.set_aside(photo, reason)
        except OSError as error:
            return self._in_trouble(f"{photo} cannot be set aside: {error.strerror}")
        self.failures += 1
        self._tries.pop(photo, None)
        self.say(f"{photo}: {reason}; moved to {aside}")
        return True

    def _in_trouble(self, what: str) -> bool:
        """Say what is wrong for all photos, once."""
        if what != self._trouble:
            self.say(what)
            self._trouble = what
        return False

    def _wait(self, stop: Event, seconds: float) -> None:
        """Wait for a change in the folder, or for the next look: a change may go unnoticed."""
        folder = self.inbox.photos.path
        if not self.inbox.settled:
            seconds = min(seconds, max(0.1, self.inbox.settle_s / 2))
        try:
            for _ in watch(
                folder,
                stop_event=stop,
                rust_timeout=int(seconds * 1000),
                yield_on_timeout=True,
                recursive=self.inbox.photos.recursive,
                debounce=200,
                raise_interrupt=False,
            ):
                return
        except (OSError, RuntimeError):  # the folder is away, or of a kind that cannot be watched
            stop.wait(seconds)
