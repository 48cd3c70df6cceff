"""docs/problems.md has each problem code, with cause and cure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from shared import errors
from shared.errors import PROBLEM_BASE, FacemendError
from tests.docs.pages import DOCS

TEXT = (DOCS / "problems.md").read_text()


def rows(heading: str) -> dict[str, dict[str, str]]:
    """Code → cells by the name of their column."""
    _, _, below = TEXT.partition(f"\n## {heading}\n")
    table = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)
    assert table, heading
    head, _, *lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()
    ]
    found = [dict(zip(head, line, strict=True)) for line in lines]
    return {re.sub(r".*`(.+)`", r"\1", row["code"]): row for row in found}


def kinds(root: type[FacemendError]) -> Iterator[type[FacemendError]]:
    for kind in root.__subclasses__():
        yield kind
        yield from kinds(kind)


REQUESTS, PHOTOS, RUNS = rows("Of requests"), rows("Of photos"), rows("Of the run")
EVERY = REQUESTS | PHOTOS | RUNS


def test_each_code_is_in_its_table() -> None:
    assert REQUESTS.keys() == {kind.code for kind in kinds(errors.RequestError)}
    assert PHOTOS.keys() == {kind.code for kind in kinds(errors.InputError)}
    runs = {*kinds(errors.EngineError), *kinds(errors.ExecutionError)}
    assert RUNS.keys() == {kind.code for kind in runs}


def test_each_code_has_a_cause_and_a_cure() -> None:
    for code, row in EVERY.items():
        assert len(row["cause"]) > 15, code
        assert len(row["cure"]) > 8, code


def test_each_code_has_an_anchor() -> None:
    for code in EVERY:
        assert f'<a id="{code}"></a>`{code}`' in TEXT
    assert PROBLEM_BASE in TEXT


def test_each_status_and_retry_is_right() -> None:
    for kind in kinds(errors.RequestError):
        row = REQUESTS[kind.code]
        assert str(kind.http_status) in row["status"]
        if kind.code != "invalid-request":
            assert row["again"] == ("yes" if kind.retryable else "no"), kind.code
    again: dict[str, set[bool]] = {}
    for root in (errors.InputError, errors.EngineError, errors.ExecutionError):
        for kind in kinds(root):
            again.setdefault(kind.code, set()).add(kind.retryable)
    words = {frozenset({True}): "yes", frozenset({False}): "no"}
    for code, found in again.items():
        assert EVERY[code]["again"] == words.get(frozenset(found), "mostly"), code
