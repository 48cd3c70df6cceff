"""Who can use the page, and where: sign-in, languages, keyboard, phone, offline, accessibility."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from deploy.embedded.stack import Stack
from tests.e2e.page.visitor import Visitor

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
Visit = Callable[..., Visitor]

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


# --- sign-in ----------------------------------------------------------------


def test_the_sign_in_link_signs_in_and_leaves_no_token_in_the_address(
    visit: Visit, stack: Stack
) -> None:
    visitor = visit(signed_in=False)
    link = stack.sign_in_link()
    visitor.page.goto("about:blank")
    visitor.page.goto(link)
    visitor.wait_until_ready()
    expect(visitor.page.locator("#account-name")).to_have_text("local")
    assert visitor.page.url == f"{stack.url}/"
    visitor.reload()
    expect(visitor.page.locator("#account-name")).to_have_text("local")
    other_tab = visitor.page.context.new_page()
    other_tab.goto(stack.url)
    expect(other_tab.locator("#account")).to_have_text("Sign in")


def test_without_a_key_restore_asks_for_it_and_goes_on_with_the_same_photos(
    visit: Visit, stack: Stack, box_of_photos: list[Path]
) -> None:
    visitor = visit(signed_in=False)
    page = visitor.page
    visitor.add(box_of_photos[1:3])
    visitor.restore()
    expect(page.locator("#sign-in-why")).to_contain_text("Your photos are here and wait")
    visitor.screenshot("sign-in")
    visitor.assert_accessible()
    page.locator("#sign-in-form .primary").click()
    expect(page.locator("#key-error")).to_have_text("Enter the key first.")
    page.locator("#key").fill("fm_live_nonsense")
    page.keyboard.press("Enter")
    expect(page.locator("#key-error")).to_contain_text("does not know this key")
    page.locator("#key").fill(stack.api_key)
    page.keyboard.press("Enter")
    expect(page.locator("#sign-in")).to_be_hidden()
    for file in box_of_photos[1:3]:
        expect(visitor.photo(file.name)).to_have_attribute("data-state", "succeeded")
    page.locator("#account").click()
    expect(visitor.photos).to_have_count(0)
    expect(page.locator("#welcome")).to_be_visible()


# --- languages ----------------------------------------------------------------


def test_the_page_is_chinese_for_a_chinese_browser_and_switches_in_place(
    visit: Visit, box_of_photos: list[Path]
) -> None:
    visitor = visit(locale="zh-CN", color_scheme="dark")
    page = visitor.page
    expect(page.locator("#welcome h1")).to_have_text("让面孔重新清晰")
    visitor.add(box_of_photos[1:4])
    expect(page.locator("#restore")).to_have_text("修复 3 张照片")
    visitor.restore()
    visitor.wait_until_done()
    visitor.look_at("eileen-1.jpg")
    expect(page.locator("#photo-state")).to_have_text("已修复 1 张脸")
    visitor.screenshot("chinese")
    visitor.assert_accessible()
    page.locator("#language").select_option("en")
    expect(page.locator("#photo-state")).to_have_text("1 face restored")
    expect(page.locator("#settings-title")).to_have_text("How to restore")
    visitor.reload()
    expect(page.locator("html")).to_have_attribute("lang", "en")


# --- keyboard ----------------------------------------------------------------


def focus_on(visitor: Visitor, selector: str, presses: int = 40) -> None:
    """Press Tab until an element has the focus."""
    for _ in range(presses):
        if visitor.page.locator(f"{selector}:focus").count():
            return
        visitor.page.keyboard.press("Tab")
    raise AssertionError(f"{selector} is not reached by Tab")


def test_everything_works_by_keyboard_alone(visit: Visit, group_photo: Path) -> None:
    visitor = visit()
    page = visitor.page
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    # The browser learns only a moment after this line that the test wants the dialog.
    with page.expect_file_chooser() as chooser:
        focus_on(visitor, "#welcome .primary")
        page.keyboard.press("Enter")
    chooser.value.set_files(str(group_photo))
    expect(visitor.photos).to_have_count(1)
    focus_on(visitor, "#restore")
    page.keyboard.press("Enter")
    visitor.wait_until_done()
    focus_on(visitor, ".photo .open")
    page.keyboard.press("Enter")
    focus_on(visitor, "#divider")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#divider")).to_have_attribute("aria-valuenow", "48")
    focus_on(visitor, "#faces input")
    page.keyboard.press("Space")
    expect(page.locator("#apply")).to_have_text("Restore 2 chosen faces")
    expect(page.locator("#faces input").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#stage-block")).to_be_hidden()
    expect(page.locator(".photo .open")).to_be_focused()


def test_the_end_of_each_photo_is_said_in_the_live_region(
    visit: Visit, box_of_photos: list[Path]
) -> None:
    visitor = visit()
    visitor.add(box_of_photos[1:2])
    expect(visitor.page.locator("#live")).to_contain_text("1 photo added.")
    visitor.restore()
    expect(visitor.page.locator("#live")).to_contain_text("eileen-1.jpg: 1 face restored.")
    expect(visitor.page.locator("#live")).to_contain_text("All photos are done.")


# --- small screens ----------------------------------------------------------------


def test_on_a_phone_nothing_sticks_out_and_the_divider_follows_a_finger(
    visit: Visit, group_photo: Path, box_of_photos: list[Path]
) -> None:
    visitor = visit(**PHONE)
    page = visitor.page
    visitor.assert_nothing_sticks_out()
    visitor.screenshot("phone-empty")
    visitor.add([group_photo, *box_of_photos[1:5]])
    visitor.assert_nothing_sticks_out()
    visitor.screenshot("phone-ready")
    page.locator("#restore").tap()
    visitor.wait_until_done()
    visitor.photo(group_photo.name).locator(".open").tap()
    expect(page.locator("#divider")).to_be_visible()
    visitor.assert_nothing_sticks_out()
    visitor.screenshot("phone")
    visitor.assert_accessible()
    stage = page.locator("#stage").bounding_box()
    assert stage is not None
    touch = page.context.new_cdp_session(page)
    y = stage["y"] + 40
    for kind, share in (
        ("touchStart", 0.5),
        ("touchMove", 0.6),
        ("touchMove", 0.25),
        ("touchEnd", 0),
    ):
        points = [{"x": stage["x"] + stage["width"] * share, "y": y}] if share else []
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    expect(page.locator("#divider")).to_have_attribute("aria-valuenow", "25")


# --- offline, and the service away ----------------------------------------------------------------


def test_offline_the_photos_wait_and_go_on_by_themselves(
    visit: Visit, client: httpx.Client, box_of_photos: list[Path]
) -> None:
    visitor = visit()
    context, page = visitor.page.context, visitor.page
    context.set_offline(True)
    expect(page.locator("#connection-text")).to_contain_text("You are offline")
    visitor.add(box_of_photos[1:4])
    visitor.restore()
    expect(page.locator('.photo[data-state="asked"]')).to_have_count(3)
    visitor.screenshot("offline")
    context.set_offline(False)
    visitor.wait_until_done()
    expect(page.locator("#connection")).to_be_hidden()
    assert len(client.get("/v1/restorations").json()["data"]) == 3


def test_while_the_service_is_away_the_page_says_so_and_goes_on_when_it_is_back(
    visit: Visit, client: httpx.Client, box_of_photos: list[Path]
) -> None:
    visitor = visit()
    page = visitor.page
    page.route("**/v1/**", lambda route: route.abort())
    page.route("**/readyz", lambda route: route.abort())
    visitor.add(box_of_photos[1:3])
    visitor.restore()
    expect(page.locator("#connection-text")).to_contain_text("The service does not answer")
    expect(page.locator('.photo[data-state="asked"]')).to_have_count(2)
    page.unroute("**/v1/**")
    page.unroute("**/readyz")
    page.locator("#connection-retry").click()
    visitor.wait_until_done()
    assert len(client.get("/v1/restorations").json()["data"]) == 2


# --- accessibility ----------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    visit: Visit, group_photo: Path, box_of_photos: list[Path], scheme: str
) -> None:
    visitor = visit(color_scheme=scheme)
    page = visitor.page
    visitor.assert_accessible()
    visitor.add([group_photo, box_of_photos[0], box_of_photos[1]])
    page.locator("#more-settings summary").click()
    visitor.assert_accessible()
    visitor.restore()
    visitor.wait_until_done()
    visitor.assert_accessible()
    visitor.screenshot(f"grid-{scheme}")
    visitor.look_at("broken-scan.jpg")
    visitor.assert_accessible()
    visitor.look_at(group_photo.name)
    page.locator("#boxes .box").first.hover()
    visitor.assert_accessible()
    visitor.screenshot(scheme)
    page.locator("#erase-one").click()
    visitor.assert_accessible()
