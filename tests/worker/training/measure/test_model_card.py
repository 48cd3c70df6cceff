"""Figures get into a card by a command, and nothing else in it changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import DatasetError
from worker.training.measure.model_card import BEGIN, END, write_figures


def test_figures_replace_what_is_between_the_marks(tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    card.write_text(f"# Model\n\n{BEGIN}\nold\n{END}\n\n## Limits\n")
    write_figures(card, "| new |")
    assert card.read_text() == f"# Model\n\n{BEGIN}\n| new |\n{END}\n\n## Limits\n"


def test_a_card_that_does_not_exist_is_begun(tmp_path: Path) -> None:
    write_figures(tmp_path / "cards" / "mine.md", "| 1 |")
    assert (tmp_path / "cards" / "mine.md").read_text().startswith(f"# mine\n\n{BEGIN}\n| 1 |\n")


@pytest.mark.parametrize("text", ["# Model\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n"])
def test_a_card_without_both_marks_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    card = tmp_path / "card.md"
    card.write_text(text)
    with pytest.raises(DatasetError, match="no place for figures"):
        write_figures(card, "| new |")
    assert card.read_text() == text
