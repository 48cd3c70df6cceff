"""Run pip with a progress bar on a terminal, and a few lines in a log."""

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
_QUIET_BYTES = 20_000_000  # smaller downloads get no line in a log


class PipFailed(Exception):
    """pip ended with an error; the message has its last lines."""


def run_pip(python: Path, arguments: Sequence[str]) -> None:
    """Run the pip of an environment. Raises PipFailed."""
    argv = [str(python), "-m", "pip", *arguments]
    argv += ["--progress-bar", "raw", "--no-input", "--disable-pip-version-check", "--no-color"]
    argv += ["--root-user-action", "ignore"]
    # UTF-8, so that every log can be read; many columns, so that pip does not wrap its lines.
    environ = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "COLUMNS": "200"}
    process = subprocess.Popen(  # noqa: S603  # a fixed command
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=environ,
    )
    last_lines: deque[str] = deque(maxlen=12)
    display = Display(terminal=sys.stdout.isatty())
    with process:
        for line in process.stdout or ():
            if not display.show(line.rstrip()):
                last_lines.append(line.rstrip())
    display.end()
    if process.returncode != 0:
        problems = [line for line in last_lines if not line.startswith("WARNING: Location")]
        raise PipFailed("pip says:\n  " + "\n  ".join(problems))


class Display:
    """Shows pip's progress lines in short form."""

    def __init__(self, *, terminal: bool) -> None:
        self._terminal = terminal
        self._package = ""
        self._shown_at = 0.0
        self._shown_percent = 0

    def show(self, line: str) -> bool:
        """Show the line and return True if it is about progress; else return False."""
        if found := re.match(r"(?:Collecting|Processing) (\S+?)(?:==|~=|>|<|;|$)", line):
            self._package = Path(found[1]).name
            self._show_briefly(f"looking at {self._package}")
        elif found := re.match(r"Progress (\d+) of (\d+)$", line):
            self._progress(int(found[1]), int(found[2]))
        elif line.startswith("Installing collected packages: "):
            if count := line.count(","):
                self._show_line(f"unpacking {count + 1} packages")
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
                self._show_briefly(f"{bar} {percent:3} %  {self._package}  {size}")
        elif total_bytes >= _QUIET_BYTES and percent >= self._shown_percent + 20:
            self._shown_percent = percent - percent % 20
            self._show_line(f"{self._package}: {size}")

    def _show_briefly(self, text: str) -> None:
        """Show text on a terminal until the next text replaces it."""
        if self._terminal:
            self._shown_at = time.monotonic()
            print(f"\r\033[K  {text}", end="", flush=True)

    def _show_line(self, text: str) -> None:
        if self._terminal:
            self._show_briefly(text)
        else:
            print(f"  {text}", flush=True)
