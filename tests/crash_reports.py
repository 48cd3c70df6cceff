"""Prints where a process of the tests crashed, at the end of the output.

A crash in native code ends the process, and the fault handler writes the stack of each thread
between the lines of other tests. Here it writes them to a file of the process, and the last thing
that the run prints is the stack of the thread that crashed. The file ``crashed`` says that there
was a crash.
"""

from __future__ import annotations

import faulthandler
import os
from pathlib import Path
from typing import Any

import pytest

_FOLDER = "crashes"
_LINES = 12


@pytest.hookimpl(trylast=True)  # after pytest's own fault handler
def pytest_configure(config: pytest.Config) -> None:
    folder = _folder(config)
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        for old in folder.iterdir():
            old.unlink()
    else:
        # Open as long as the process runs.
        faulthandler.enable((folder / f"{worker}.txt").open("w"))


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_testnodedown(node: Any, error: object) -> None:
    if error:
        with (_folder(node.config) / "crashed").open("a") as file:
            file.write(f"{node.gateway.id}\n")


def pytest_unconfigure(config: pytest.Config) -> None:
    crashed = _folder(config) / "crashed"
    if "PYTEST_XDIST_WORKER" in os.environ or not crashed.exists():
        return
    for worker in crashed.read_text().split():
        text = (crashed.parent / f"{worker}.txt").read_text()
        print(f"\n{worker} crashed:\n{_of_current_thread(text)}")  # noqa: T201


def _folder(config: pytest.Config) -> Path:
    assert config.cache is not None
    return config.cache.mkdir(_FOLDER)


def _of_current_thread(text: str) -> str:
    """Return the line that names the signal, and the stack of the thread that got it.

    Those of the last crash: a child of the process may have crashed before, on purpose.
    """
    first, *rest = text[max(text.rfind("Fatal Python error"), 0) :].splitlines() or ["no stack"]
    begin = next((n for n, line in enumerate(rest) if line.startswith("Current thread")), 0)
    stack = rest[begin:]
    end = stack.index("") if "" in stack else len(stack)
    return "\n".join([first, *stack[: min(end, _LINES)]])
