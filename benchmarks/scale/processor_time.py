"""Processor time of the machine, and of the processes that this one started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def processor_seconds(words: Mapping[str, str]) -> dict[str, float]:
    """Return the processor time that running descendants have used, by name.

    ``words``: by name, what the command line of such a process contains; its arguments are
    separated by NUL.
    """
    found = dict.fromkeys(words, 0.0)
    for pid in _descendants():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_text()
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        ticks = int(fields[11]) + int(fields[12])  # utime, stime: proc(5)
        for name, word in words.items():
            if word in command:
                found[name] += ticks / os.sysconf("SC_CLK_TCK")
                break
    return found


def machine_seconds() -> float:
    """Return the processor time that all programs of the machine have used, on all processors."""
    # user, nice, system, idle, iowait, irq, softirq, steal: proc(5)
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def _descendants() -> set[int]:
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, new = set[int](), {os.getpid()}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new} - found
        found |= new
    return found
