"""The report of a benchmark: facts, tables and requirements, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

Cell = str | float | int | bool | None


class Report:
    """Sections in order, printed as they are added; the JSON has every value unrounded."""

    def __init__(self, title: str) -> None:
        self._lines = [f"# {title}"]
        self._requirements: list[dict[str, Cell]] = []
        self._facts: dict[str, Cell] = {}
        self._tables: dict[str, list[dict[str, Cell]]] = {}
        click.echo(self._lines[0])

    def section(self, title: str, note: str = "") -> None:
        self._add(f"\n## {title}\n" + (f"\n{note}\n" if note else ""))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        lines = [_line(columns), _line(["---"] * len(columns))]
        lines += [_line([_shown(cell) for cell in row]) for row in rows]
        self._add("\n".join(lines))
        self._tables[name] = [dict(zip(columns, row, strict=True)) for row in rows]

    def require(self, name: str, value: float, sign: str, bound: float, unit: str = "") -> None:
        """Add a measured value and the bound that it must reach; ``sign`` is ``>=`` or ``<=``."""
        met = value >= bound if sign == ">=" else value <= bound
        verdict = "met" if met else "MISSED"
        self._add(f"- {name}: {_shown(value)}{unit} (required: {sign} {bound:g}{unit}): {verdict}")
        self._requirements.append(
            {"name": name, "value": value, "sign": sign, "bound": bound, "met": met}
        )

    def fact(self, name: str, value: Cell) -> None:
        self._add(f"- {name}: {_shown(value)}")
        self._facts[name] = value

    def write(self, stem: Path) -> None:
        found = {"facts": self._facts, "requirements": self._requirements, "tables": self._tables}
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.with_suffix(".md").write_text("\n".join(self._lines) + "\n")
        stem.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n")

    def _add(self, text: str) -> None:
        self._lines.append(text)
        click.echo(text)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _shown(cell: Cell) -> str:
    if isinstance(cell, float):
        return (
            f"{cell:.2e}"
            if 0 < abs(cell) < 1e-3
            else f"{cell:.3g}"
            if cell < 100
            else f"{cell:.0f}"
        )
    return "" if cell is None else str(cell)
