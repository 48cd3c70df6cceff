from __future__ import annotations

from tests.chaos.photos import Act, Order, is_result, photo, read
from tests.chaos.report import Row, breaches, table


def make(injected: int = 0, lost: int = 0, duplicated: int = 0) -> Row:
    return Row("F1", "something breaks", "≤ 15 s", injected, lost, duplicated)


def test_a_row_holds_when_something_was_injected_and_nothing_broke() -> None:
    assert make(injected=3).verdict == "held"


def test_whatever_is_wrong_is_a_breach() -> None:
    assert make(injected=0).verdict == "BREACHED"
    assert make(injected=3, lost=1).verdict == "BREACHED"
    assert make(injected=3, duplicated=1).verdict == "BREACHED"
    late = make(injected=3)
    late.recovered(15.1, 15.0)
    assert late.verdict == "BREACHED"
    assert "15.1 s" in late.breaches[0]


def test_the_worst_recovery_is_remembered() -> None:
    row = make(injected=3)
    for seconds in (2.0, 9.5, 4.0):
        row.recovered(seconds, 15.0)
    assert row.worst_s == 9.5


def test_a_row_that_cannot_run_here_says_so_and_is_no_breach() -> None:
    row = make()
    row.skipped = "needs a GPU"
    assert row.verdict == "skipped"
    assert "skipped: needs a GPU" in table([row])


def test_a_row_survives_the_way_between_processes() -> None:
    row = make(injected=2, lost=1)
    row.breach("one is gone")
    assert Row.from_json(row.to_json()) == row


def test_the_table_has_a_line_for_each_row_and_what_there_is_to_say() -> None:
    good, bad = make(injected=1), Row("F2", "something else", "0", injected=2, lost=2)
    bad.breach("two are gone")
    lines = table([good, bad]).splitlines()
    assert [line.split(" | ")[0].strip() for line in lines[:1]] == ["row"]
    assert "held" in lines[2]
    assert "BREACHED" in lines[3]


def test_each_breach_is_said_with_its_reason() -> None:
    bad = make(injected=2, lost=2)
    bad.breach("two are gone")
    assert breaches(make(injected=1)) == []
    assert breaches(make()) == ["F1: BREACH nothing was injected"]
    assert breaches(bad) == ["F1: BREACH two are gone", "F1: BREACH 2 lost"]


def test_an_order_is_read_from_the_pixels_it_was_written_in() -> None:
    import io

    import numpy as np
    from PIL import Image

    order = Order(serial=1_234_567, act=Act.HANG, seconds=2.5, once=True)
    pixels = np.asarray(Image.open(io.BytesIO(photo(order))))
    assert read(pixels) == order
    file = io.BytesIO()
    Image.fromarray(255 - pixels).save(file, "PNG")
    assert is_result(file.getvalue(), order)
    assert not is_result(photo(order), order)
    assert not is_result(file.getvalue(), Order(serial=1_234_568))
