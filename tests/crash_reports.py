"""Prints where a process of the tests crashed, at the end of the output.

A crash in native code ends the process, and the fault handler writes the stack of each thread
between the lines of other tests. Here it writes them to a file of the process, and the last thing
that the run prints is the stack of the thread that crashed.
"""

from __future__ import annotations

import faulthandler
import os
from pathlib import Path

import pytest

_FOLDER = "crashes"
_LINES = 12


@pytest.hookimpl(trylast=True)  # after pytest's own fault handler
def pytest_configure(config: pytest.Config) -> None:
    folder = _folder(config)
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        for old in folder.glob("*.txt"):
            old.unlink()
    else:
        # Open as long as the process runs.
        faulthandler.enable((folder / f"{worker}.txt").open("w"))


def pytest_unconfigure(config: pytest.Config) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    for report in sorted(_folder(config).glob("*.txt")):
        if text := report.read_text():
            print(f"\n{report.stem} crashed:\n{_of_current_thread(text)}")  # noqa: T201


def _folder(config: pytest.Config) -> Path:
    assert config.cache is not None
    return config.cache.mkdir(_FOLDER)


def _of_current_thread(text: str) -> str:
    """Return the first line, which names the signal, and the stack of the thread that got it."""
    first, *rest = text.splitlines()
    begin = next((n for n, line in enumerate(rest) if line.startswith("Current thread")), 0)
    stack = rest[begin:]
    end = stack.index("") if "" in stack else len(stack)
    return "\n".join([first, *stack[: min(end, _LINES)]])
