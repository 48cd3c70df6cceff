"""A blind comparison: numbered sheets of unnamed candidates, a key, and the count of preferences.

Each sheet shows one photo in several versions side by side, as A, B, C… in an order drawn anew for
each sheet. A judge who does not know the key writes the letters, best first, into ``ballot.csv``;
``tally`` opens the key and counts how often each candidate was preferred to each other.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np

from shared.errors import DatasetError
from worker.training.data.degradations import Image
from worker.training.measure.validation import write_png

LETTERS = "ABCDEFGHIJ"
_SHOWN_PX = 512  # the longer side of each version on a sheet
_MARGIN_PX, _TITLE_PX = 8, 28


@dataclass(frozen=True)
class Trial:
    """One photo: a group's name (for the counts) and its versions by candidate."""

    group: str
    versions: Mapping[str, Image]


def write_sheets(trials: Sequence[Trial], folder: Path, seed: int) -> None:
    """Write ``sheet-01.png``…, ``ballot.csv`` and ``key.json`` into ``folder``.

    Raises DatasetError if there is no trial, or if the candidates of a trial differ from the rest.
    """
    if not trials:
        raise DatasetError("a blind comparison needs at least one photo")
    names = sorted(trials[0].versions)
    if not 2 <= len(names) <= len(LETTERS):
        raise DatasetError(f"a blind comparison needs 2 to {len(LETTERS)} candidates: {names}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(trials))
    key: dict[str, dict[str, str]] = {}
    for number, index in enumerate(order, 1):
        trial = trials[index]
        if sorted(trial.versions) != names:
            raise DatasetError(f"every photo needs the same candidates: {names}")
        shuffled = [names[i] for i in rng.permutation(len(names))]
        sheet = f"{number:02d}"
        key[sheet] = {"group": trial.group} | dict(zip(LETTERS, shuffled, strict=False))
        write_png(
            _sheet([trial.versions[name] for name in shuffled]), folder / f"sheet-{sheet}.png"
        )
    (folder / "key.json").write_text(json.dumps(key, indent=1) + "\n")
    with (folder / "ballot.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("sheet", "best first"))
        writer.writerows((sheet, "") for sheet in key)


@dataclass(frozen=True)
class Preference:
    """How often ``first`` was ranked above ``second``, of the sheets that rank both."""

    group: str
    first: str
    second: str
    won: int
    sheets: int


def tally(folder: Path) -> list[Preference]:
    """Count the preferences in ``folder``: of each pair, in each group and in ``all``.

    Raises DatasetError for a ballot that is missing, empty, or names letters that no sheet has.
    """
    key = _read_key(folder / "key.json")
    counts: dict[tuple[str, str, str], list[int]] = {}
    for sheet, ranking in _read_ballot(folder / "ballot.csv").items():
        if sheet not in key:
            raise DatasetError(f"the ballot names sheet {sheet}, which the key does not have")
        names = key[sheet]
        if (
            not ranking
            or set(ranking) - (set(names) - {"group"})
            or len(set(ranking)) < len(ranking)
        ):
            raise DatasetError(f"sheet {sheet}: {ranking!r} is not an order of its letters")
        for better, worse in combinations([names[letter] for letter in ranking], 2):
            for group in (names["group"], "all"):
                for pair, won in (((better, worse), 1), ((worse, better), 0)):
                    count = counts.setdefault((group, *pair), [0, 0])
                    count[0] += won
                    count[1] += 1
    if not counts:
        raise DatasetError(f"no sheet of {folder / 'ballot.csv'} has been ranked")
    return [Preference(*names, *count) for names, count in sorted(counts.items())]


def markdown(preferences: Sequence[Preference]) -> str:
    """Return a table, one line for each ordered pair."""
    lines = ["| group | preferred | to | sheets | share |", "|---|---|---|---|---|"]
    lines += [
        f"| {p.group} | {p.first} | {p.second} | {p.won} of {p.sheets} | {p.won / p.sheets:.0%} |"
        for p in preferences
    ]
    return "\n".join(lines)


def _sheet(versions: Sequence[Image]) -> Image:
    """The versions side by side with their letters above, on grey."""
    shown = [_enlarged(version) for version in versions]
    height = max(len(each) for each in shown) + _TITLE_PX + 2 * _MARGIN_PX
    width = sum(each.shape[1] + _MARGIN_PX for each in shown) + _MARGIN_PX
    sheet = np.full((height, width, 3), 96, np.uint8)
    left = _MARGIN_PX
    for letter, image in zip(LETTERS, shown, strict=False):
        top = _MARGIN_PX + _TITLE_PX
        sheet[top : top + len(image), left : left + image.shape[1]] = image
        place = (left + 4, _MARGIN_PX + _TITLE_PX - 8)
        cv2.putText(sheet, letter, place, cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2)
        left += image.shape[1] + _MARGIN_PX
    return sheet


def _enlarged(image: Image) -> Image:
    scale = _SHOWN_PX / max(image.shape[:2])
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def _read_key(path: Path) -> dict[str, dict[str, str]]:
    try:
        key: dict[str, dict[str, str]] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as the key of a comparison: {error}") from None
    return key


def _read_ballot(path: Path) -> dict[str, str]:
    """Rankings by sheet, of the sheets that have one; spaces and commas between letters may be."""
    if not path.is_file():
        raise DatasetError(f"there is no ballot at {path}")
    with path.open(newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    found = {row[0].strip(): "".join(row[1:]) for row in rows[1:]}
    cleaned = {sheet: "".join(text.upper().split()) for sheet, text in found.items()}
    return {sheet: ranking for sheet, ranking in cleaned.items() if ranking}
