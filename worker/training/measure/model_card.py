"""The figures of a model card, replaced by what was measured: no figure is typed by hand."""

from __future__ import annotations

from pathlib import Path

from shared.errors import DatasetError

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def write_figures(card: Path, markdown: str) -> None:
    """Put ``markdown`` between the marks of ``card``; a card that does not exist is begun.

    Raises DatasetError if a card exists and does not have both marks, in their order.
    """
    block = f"{BEGIN}\n{markdown}\n{END}"
    if not card.exists():
        card.parent.mkdir(parents=True, exist_ok=True)
        card.write_text(f"# {card.stem}\n\n{block}\n", encoding="utf-8")
        return
    text = card.read_text(encoding="utf-8")
    start, end = text.find(BEGIN), text.find(END)
    if not 0 <= start < end:
        raise DatasetError(f"{card} has no place for figures: {BEGIN} and {END} are missing")
    card.write_text(text[:start] + block + text[end + len(END) :], encoding="utf-8")
