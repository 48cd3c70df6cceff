"""A blind comparison hides who made what, and counts what the judge preferred."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.errors import DatasetError
from worker.training.measure.blind import Preference, Trial, markdown, tally, write_sheets


def trial(group: str = "x4", **levels: int) -> Trial:
    return Trial(
        group, {name: np.full((16, 16, 3), level, np.uint8) for name, level in levels.items()}
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    trials = [trial("x4", new=200, old=100), trial("x8", new=200, old=100), trial(new=200, old=100)]
    write_sheets(trials, tmp_path, seed=3)
    return tmp_path


def key_of(folder: Path) -> dict[str, dict[str, str]]:
    key: dict[str, dict[str, str]] = json.loads((folder / "key.json").read_text())
    return key


def vote(folder: Path, rankings: Mapping[str, str]) -> None:
    with (folder / "ballot.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("sheet", "best first"), *rankings.items()])


def order_of(key: Mapping[str, str], *names: str) -> str:
    letters = {name: letter for letter, name in key.items() if letter != "group"}
    return "".join(letters[name] for name in names)


def test_a_sheet_shows_the_versions_in_the_order_of_its_key(folder: Path) -> None:
    for sheet, names in key_of(folder).items():
        image = cv2.imread(str(folder / f"sheet-{sheet}.png"))
        assert image is not None
        left = image[image.shape[0] // 2, image.shape[1] // 4, 0]
        assert left == {"new": 200, "old": 100}[names["A"]]


def test_the_ballot_names_every_sheet_and_no_candidate(folder: Path) -> None:
    text = (folder / "ballot.csv").read_text()
    assert [line.split(",")[0] for line in text.splitlines()] == ["sheet", "01", "02", "03"]
    assert "new" not in text


def test_the_order_differs_between_sheets_and_is_repeatable(tmp_path: Path) -> None:
    trials = [trial(new=200, old=100) for _ in range(12)]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_sheets(trials, tmp_path / name, seed=3)
    one, two = key_of(tmp_path / "one"), key_of(tmp_path / "two")
    assert one == two
    assert len({names["A"] for names in one.values()}) == 2


def test_preferences_are_counted_by_group_and_in_all(folder: Path) -> None:
    key = key_of(folder)
    best = {
        sheet: ("old", "new") if names["group"] == "x8" else ("new", "old")
        for sheet, names in key.items()
    }
    vote(folder, {sheet: " ".join(order_of(key[sheet], *best[sheet])) for sheet in key})
    counted = {(p.group, p.first): (p.won, p.sheets) for p in tally(folder)}
    assert counted[("all", "new")] == (2, 3)
    assert counted[("x4", "new")] == (2, 2)
    assert counted[("x8", "new")] == (0, 1)
    assert counted[("all", "old")] == (1, 3)


def test_sheets_without_a_ranking_do_not_count(folder: Path) -> None:
    key = key_of(folder)
    vote(folder, {"01": order_of(key["01"], "new", "old"), "02": ""})
    assert {p.sheets for p in tally(folder)} == {1}
    assert "| 1 of 1 | 100% |" in markdown(tally(folder))


@pytest.mark.parametrize(
    ("rankings", "says"),
    [
        ({"01": "AZ"}, "not an order of its letters"),
        ({"01": "AA"}, "not an order of its letters"),
        ({"99": "AB"}, "which the key does not have"),
        ({"01": ""}, "no sheet of"),
    ],
)
def test_a_ballot_that_cannot_be_counted_is_refused(
    folder: Path, rankings: dict[str, str], says: str
) -> None:
    vote(folder, rankings)
    with pytest.raises(DatasetError, match=says):
        tally(folder)


def test_a_folder_without_key_or_ballot_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "ballot.csv").unlink()
    with pytest.raises(DatasetError, match="no ballot"):
        tally(folder)
    (folder / "key.json").write_text("{")
    with pytest.raises(DatasetError, match="cannot be read as the key"):
        tally(folder)


def test_trials_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="at least one photo"):
        write_sheets([], tmp_path, seed=1)
    with pytest.raises(DatasetError, match="2 to 10 candidates"):
        write_sheets([trial(new=1)], tmp_path, seed=1)
    with pytest.raises(DatasetError, match="the same candidates"):
        write_sheets([trial(new=1, old=2), trial(new=1, other=2)], tmp_path, seed=1)


def test_a_tally_is_one_line_for_each_ordered_pair() -> None:
    assert markdown([Preference("all", "new", "old", 3, 4)]).splitlines()[-1] == (
        "| all | new | old | 3 of 4 | 75% |"
    )
