"""Copies of the scripts with small changes: another clock, or a mistake that must be found."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

#: The clock of a story: a hash that stands still until somebody moves it (``Clock``).
CLOCK = "clock"
_REDIS_TIME = "redis.call('TIME')"
_STORY_TIME = f"redis.call('HMGET', '{CLOCK}', 's', 'us')"


@dataclass(frozen=True, slots=True)
class Edit:
    """In one script, ``old`` becomes ``new``; a script that is not there yet begins empty."""

    script: str
    old: str
    new: str

    def apply(self, folder: Path) -> None:
        path = next(folder.rglob(f"{self.script}.lua"), folder / f"{self.script}.lua")
        text = path.read_text("utf-8") if path.exists() else ""
        if self.old and text.count(self.old) != 1:
            raise LookupError(f"not once in {path.name}: {self.old!r}. Has the script changed?")
        path.write_text(text.replace(self.old, self.new) if self.old else text + self.new, "utf-8")


def edition(folder: Path, edits: Iterable[Edit] = ()) -> Path:
    """The scripts as shipped, but for the clock and ``edits``."""
    with resources.as_file(resources.files("shared") / "lua") as shipped:
        shutil.copytree(shipped, folder)
    for edit in edits:
        edit.apply(folder)
    for path in folder.rglob("*.lua"):
        path.write_text(path.read_text("utf-8").replace(_REDIS_TIME, _STORY_TIME), "utf-8")
    return folder
