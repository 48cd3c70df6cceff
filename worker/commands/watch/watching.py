"""The loop: look, restore what has arrived, wait until something changes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from facemend.folder.record import Record
from facemend.folder.result_names import ResultNames
from facemend.folder.run import Errand
from shared.errors import FacemendError, InputError, SettingsInvalid
from worker.commands.watch.restorers import Attempt, OnePhoto
from worker.commands.watch.source import Source

#: A photo that fails so often for reasons that may pass is set aside, too.
_MAX_TRIES = 5
_PAUSE_S = 10.0  # after an error that would meet every photo, and before another try of a photo


@dataclass
class Watching:
    """Restores the photos of ``inbox`` into ``output``, ``in_flight`` at a time.

    ``say`` gets a line for each photo and each change of the situation; ``show_result`` names a
    result in it.
    """

    inbox: Source
    output: Path
    record: Record
    names: ResultNames
    restore: OnePhoto
    say: Callable[[str], None]
    in_flight: int = 4
    every_s: float = 5.0
    show_result: Callable[[Path], str] = str
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
            self.inbox.wait(stop, 0.2 if once else self.every_s)
            if not calm:
                stop.wait(1.0 if once else _PAUSE_S)

    def _round(self, stop: Event) -> bool:
        """Look once and restore what is whole. Return False if something is wrong for all."""
        try:
            there = self.inbox.whole()
        except (OSError, FacemendError) as error:
            return self._in_trouble(f"{self.inbox.where}: {_told(error)}; waiting for it")
        for gone in self._not_before.keys() - set(there):
            del self._not_before[gone]  # nobody waits for it any more
        photos = [photo for photo in there if self._is_to_do(photo)]
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
        name = self.inbox.name_of(photo)
        if self.record.result_of(name, photo) or self.record.failed_before(name, photo):
            return False
        return self._not_before.get(photo, 0.0) <= time.monotonic()

    def _one(self, photo: Path, stop: Event) -> tuple[Path, Attempt | None]:
        if stop.is_set():
            return photo, None
        name = self.inbox.name_of(photo)
        target = self._targets.get(name) or self.record.result_before(name)
        target = target or self.names.claim(self.output / self.inbox.result_name(photo))
        self._targets[name] = target
        try:
            with self.inbox.fetched(photo):
                return photo, self.restore(Errand(photo, name, target))
        except SettingsInvalid:
            raise
        except InputError as error:  # it was replaced or removed after the look
            return photo, Attempt("later", error.detail)
        except (OSError, FacemendError) as error:
            return photo, Attempt("later", _told(error), everywhere=True)

    def _settle(self, photo: Path, attempt: Attempt) -> bool:
        """Say what became of a photo, and do what follows. Return False if all must wait."""
        self._not_before.pop(photo, None)
        if attempt.status == "done":
            self._tries.pop(photo, None)
            remark = f" ({attempt.reason})" if attempt.reason else ""
            result = self.show_result(attempt.result) if attempt.result else ""
            self.say(f"{self.inbox.shown(photo)} → {result}{remark}")
            return True
        if attempt.everywhere:
            return self._in_trouble(attempt.reason)
        try:
            return self._tried(photo, attempt)
        except (OSError, FacemendError) as error:
            shown = self.inbox.shown(photo)
            return self._in_trouble(f"{shown} cannot be set aside: {_told(error)}")

    def _tried(self, photo: Path, attempt: Attempt) -> bool:
        if self.inbox.has_changed(photo):
            return True  # it was still being written, or moved away: the next look decides
        self._tries[photo] += 1
        if attempt.status == "later" and self._tries[photo] < _MAX_TRIES:
            self._not_before[photo] = time.monotonic() + _PAUSE_S
            self.say(f"{self.inbox.shown(photo)}: {attempt.reason}; trying again")
            return True
        version = self.record.version_of(photo)
        aside = self.inbox.set_aside(photo, attempt.reason)
        if not self.inbox.has_changed(photo):  # it is a copy that lies there
            self.record.add_failed(self.inbox.name_of(photo), version, attempt.reason)
        self.failures += 1
        self._tries.pop(photo, None)
        self.say(f"{self.inbox.shown(photo)}: {attempt.reason}; moved to {aside}")
        return True

    def _in_trouble(self, what: str) -> bool:
        """Say what is wrong for all photos, once."""
        if what != self._trouble:
            self.say(what)
            self._trouble = what
        return False


def _told(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
