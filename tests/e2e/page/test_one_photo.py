"""One photo on the stage: before and after, strength, faces, cancel and retry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Locator, expect

from tests.e2e.page.visitor import Visitor

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
Visit = Callable[..., Visitor]


def newest(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/v1/restorations", params={"limit": 1}).json()["data"][0]
    return found


def box_of(locator: Locator) -> dict[str, float]:
    found = locator.bounding_box()
    assert found is not None
    return {name: round(value, 1) for name, value in found.items()}


@pytest.fixture
def restored(visit: Visit, group_photo: Path) -> Visitor:
    """A visitor who looks at the result of a photo with three faces."""
    visitor = visit()
    visitor.add([group_photo])
    visitor.restore()
    visitor.wait_until_done()
    visitor.look_at(group_photo.name)
    expect(visitor.page.locator("#divider")).to_be_visible()
    return visitor


def test_the_divider_moves_from_end_to_end_by_keys_and_by_dragging(restored: Visitor) -> None:
    page, divider = restored.page, restored.page.locator("#divider")
    divider.focus()
    expect(divider).to_have_attribute("aria-valuenow", "50")
    for _ in range(25):
        page.keyboard.press("ArrowRight")
    expect(divider).to_have_attribute("aria-valuenow", "100")
    expect(divider).to_have_attribute("aria-valuetext", "100 % before")
    page.keyboard.press("Home")
    expect(divider).to_have_attribute("aria-valuenow", "0")
    page.keyboard.press("Shift+ArrowRight")
    expect(divider).to_have_attribute("aria-valuenow", "10")
    stage = box_of(page.locator("#stage"))
    middle = stage["y"] + stage["height"] / 2
    page.mouse.move(stage["x"] + stage["width"] * 0.4, middle)
    page.mouse.down()
    page.mouse.move(stage["x"] + stage["width"] * 0.75, middle, steps=5)
    page.mouse.up()
    expect(divider).to_have_attribute("aria-valuenow", "75")


def test_zoom_and_pan_move_both_halves_together(restored: Visitor) -> None:
    page = restored.page
    before, after = page.locator("#before"), page.locator("#after")
    fitting = box_of(before)
    assert box_of(after) == fitting
    page.locator("#zoom-in").click()
    page.locator("#zoom-in").click()
    larger = box_of(before)
    assert larger["width"] == pytest.approx(fitting["width"] * 1.25**2, rel=0.01)
    assert box_of(after) == larger
    stage = box_of(page.locator("#stage"))
    page.mouse.move(stage["x"] + 200, stage["y"] + 60)
    page.mouse.down()
    page.mouse.move(stage["x"] + 260, stage["y"] + 60, steps=4)
    page.mouse.up()
    assert box_of(before)["x"] == pytest.approx(larger["x"] + 60, abs=1)
    assert box_of(after) == box_of(before)
    page.locator("#stage").focus()
    page.keyboard.press("ArrowRight")
    assert box_of(before)["x"] == pytest.approx(larger["x"], abs=1)
    page.keyboard.press("0")
    assert box_of(before) == fitting
    page.mouse.move(stage["x"] + 300, stage["y"] + 200)
    page.mouse.wheel(0, -400)
    assert box_of(before)["width"] > fitting["width"]
    assert box_of(after) == box_of(before)


def test_strength_is_blended_at_once_and_sent_when_asked(
    restored: Visitor, client: httpx.Client
) -> None:
    page = restored.page
    first = newest(client)
    page.locator("#strength").fill("40")
    expect(page.locator("#after")).to_have_css("opacity", "0.4")
    assert newest(client)["id"] == first["id"]
    page.locator("#apply").click()
    restored.wait_until_done()
    second = newest(client)
    assert second["id"] != first["id"]
    assert second["options"] == {**first["options"], "strength": 0.4}
    # The result has less of the restored face now, so it is shown whole.
    expect(page.locator("#after")).to_have_css("opacity", "1")
    expect(restored.photos).to_have_count(1)
    page.locator("#strength").fill("90")
    expect(page.locator("#strength-more")).to_be_visible()


def test_faces_are_shown_with_what_was_done_and_a_click_chooses(
    restored: Visitor, client: httpx.Client
) -> None:
    page = restored.page
    boxes = page.locator("#boxes .box")
    expect(boxes).to_have_count(3)
    expect(boxes.first).to_have_attribute("aria-label", "Face 1: restored")
    boxes.nth(1).click()
    expect(boxes.nth(1)).to_have_attribute("aria-pressed", "false")
    restored.screenshot("faces")
    expect(page.locator("#apply")).to_have_text("Restore 2 chosen faces")
    page.locator("#apply").click()
    restored.wait_until_done()
    job = newest(client)
    assert job["options"]["faces"] == [0, 2]
    statuses = [face["status"] for face in job["result"]["faces"]]
    assert statuses == ["restored", "skipped", "restored"]
    expect(page.locator("#faces li").nth(1)).to_contain_text("left as it was: not chosen")
    expect(page.locator("#photo-state")).to_have_text("2 faces restored")
    page.locator("#faces input").nth(1).check()
    expect(page.locator("#apply")).to_have_text("Restore 3 chosen faces")


def test_faces_are_found_first_and_two_of_them_restored(
    visit: Visit, client: httpx.Client, group_photo: Path
) -> None:
    visitor = visit()
    page = visitor.page
    visitor.add([group_photo])
    visitor.look_at(group_photo.name)
    page.locator("#find-faces").click()
    boxes = page.locator("#boxes .box")
    expect(boxes).to_have_count(3)
    expect(boxes.first).to_have_attribute("aria-label", "Face 1: found")
    boxes.first.click()
    expect(page.locator("#restore-one")).to_have_text("Restore 2 chosen faces")
    page.locator("#restore-one").click()
    visitor.wait_until_done()
    job = newest(client)
    assert job["options"]["faces"]["indexes"] == [1, 2]
    assert [face["status"] for face in job["result"]["faces"]] == [
        "skipped",
        "restored",
        "restored",
    ]
    # From the result, the same faces are named again.
    boxes.first.click()
    page.locator("#apply").click()
    visitor.wait_until_done()
    expect(page.locator("#photo-state")).to_have_text("3 faces restored")


def test_a_sharp_face_is_restored_if_it_is_chosen(
    visit: Visit, client: httpx.Client, astronaut: Path
) -> None:
    visitor = visit()
    visitor.add([astronaut])
    visitor.restore()
    visitor.wait_until_done()
    visitor.look_at(astronaut.name)
    expect(visitor.page.locator("#photo-state")).to_have_text("Sharp already, left as it was")
    visitor.page.locator("#boxes .box").click()
    visitor.page.locator("#apply").click()
    visitor.wait_until_done()
    expect(visitor.page.locator("#photo-state")).to_have_text("1 face restored")
    assert newest(client)["options"]["skip_sharp"] is False
