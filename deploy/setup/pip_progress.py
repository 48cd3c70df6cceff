"""Run pip with one line of progress that moves on a terminal and stays short in a log."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

_BAR_WIDTH = 28
_QUIET_BYTES = 20_000_000  # smaller files come and go too fast to be worth a line in a log


class PipFailed(Exception):
    """pip ended with an error; the message holds what it said last."""


def run_pip(python: Path, arguments: Sequence[str]) -> None:
    """Run pip of that environment. Raises PipFailed."""
    argv = [str(python), "-m", "pip", *arguments]
    argv += ["--progress-bar", "raw", "--no-input", "--disable-pip-version-check", "--no-color"]
    argv += ["--root-user-action", "ignore"]
    # A log that cannot be decoded is no reason to fail; a terminal's width is none to wrap lines.
    environ = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "COLUMNS": "200"}
    process = subprocess.Popen(  # noqa: S603  # our own command line
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=environ,
    )
    said: deque[str] = deque(maxlen=12)
    display = Display(terminal=sys.stdout.isatty())
    with process:
        for line in process.stdout or ():
            if not display.take(line.rstrip()):
                said.append(line.rstrip())
    display.end()
    if process.returncode != 0:
        problems = [line for line in said if not line.startswith("WARNING: Location")]
        raise PipFailed("pip says:\n  " + "\n  ".join(problems))


class Display:
    """Turns pip's lines into ours."""

    def __init__(self, *, terminal: bool) -> None:
        self._terminal = terminal
        self._package = ""
        self._shown_at = 0.0
        self._shown_percent = 0

    def take(self, line: str) -> bool:
        """Show one line if it is about progress; False: it is none of ours."""
        if found := re.match(r"(?:Collecting|Processing) (\S+?)(?:==|~=|>|<|;|$)", line):
            self._package = Path(found[1]).name
            self._note(f"looking at {self._package}")
        elif found := re.match(r"Progress (\d+) of (\d+)$", line):
            self._progress(int(found[1]), int(found[2]))
        elif line.startswith("Installing collected packages: "):
            if count := line.count(","):
                self._say(f"unpacking {count + 1} packages")
        else:
            return False
        return True

    def end(self) -> None:
        if self._terminal:
            print("\r\033[K", end="", flush=True)

    def _progress(self, done_bytes: int, total_bytes: int) -> None:
        percent = 100 * done_bytes // max(total_bytes, 1)
        if done_bytes == 0:
            self._shown_percent = 0
        size = f"{done_bytes / 1e6:.0f} of {total_bytes / 1e6:.0f} MB"
        filled = _BAR_WIDTH * percent // 100
        bar = "█" * filled + "·" * (_BAR_WIDTH - filled)
        if self._terminal:
            if time.monotonic() - self._shown_at > 0.1 or percent == 100:
                self._note(f"{bar} {percent:3} %  {self._package}  {size}")
        elif total_bytes >= _QUIET_BYTES and percent >= self._shown_percent + 20:
            self._shown_percent = percent - percent % 20
            self._say(f"{self._package}: {size}")

    def _note(self, text: str) -> None:
        """Show something that the next line replaces; a log does without."""
        if self._terminal:
            self._shown_at = time.monotonic()
            print(f"\r\033[K  {text}", end="", flush=True)

    def _say(self, text: str) -> None:
        if self._terminal:
            self._note(text)
        else:
            print(f"  {text}", flush=True)
