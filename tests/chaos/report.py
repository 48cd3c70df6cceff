"""The outcome of each row of the fault matrix, and the table of all rows."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Self

HEADS = ("row", "fault", "injected", "lost", "duplicated", "worst recovery", "bound", "verdict")


@dataclass
class Row:
    """Counted while the row runs. ``worst_s`` None: nothing had to recover."""

    name: str
    fault: str
    bound: str
    injected: int = 0
    lost: int = 0
    duplicated: int = 0
    worst_s: float | None = None
    breaches: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: str = ""
    took_s: float = 0.0

    def recovered(self, seconds: float, bound_s: float, what: str = "recovery") -> None:
        """Record a recovery; it is a breach if it is longer than its bound."""
        self.worst_s = max(seconds, self.worst_s or 0.0)
        if seconds > bound_s:
            self.breach(f"{what} took {seconds:.1f} s, allowed {bound_s:g} s")

    def breach(self, what: str) -> None:
        self.breaches.append(what)

    def require(self, holds: object, what: str) -> None:
        if not holds:
            self.breach(what)

    def note(self, what: str) -> None:
        """Add a remark for the reader of the table."""
        self.notes.append(what)

    @property
    def verdict(self) -> str:
        if self.skipped:
            return "skipped"
        if self.breaches or self.lost or self.duplicated:
            return "BREACHED"
        return "held" if self.injected else "BREACHED"

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))


def table(rows: list[Row]) -> str:
    """Return all rows as one table, then their breaches and notes."""
    lines = [HEADS, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADS))]
    drawn = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
             for line in lines]  # fmt: skip
    drawn.insert(1, "-|-".join("-" * width for width in widths))
    for row in rows:
        said = [*row.notes, *([f"skipped: {row.skipped}"] if row.skipped else [])]
        drawn += [f"{row.name}: {text}" for text in said]
    return "\n".join(line.rstrip() for line in drawn)


def breaches(row: Row) -> list[str]:
    """Return why the row is breached, a line each; empty if it is not."""
    if row.verdict != "BREACHED":
        return []
    counts = {"lost": row.lost, "duplicated": row.duplicated}
    why = [*row.breaches, *(f"{count} {what}" for what, count in counts.items() if count)]
    return [f"{row.name}: BREACH {text}" for text in why or ["nothing was injected"]]


def _cells(row: Row) -> tuple[str, ...]:
    worst = "" if row.worst_s is None else f"{row.worst_s:.1f} s"
    counts = (str(row.injected), str(row.lost), str(row.duplicated))
    return (row.name, row.fault, *counts, worst, row.bound, row.verdict)
