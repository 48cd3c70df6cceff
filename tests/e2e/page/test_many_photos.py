"""A person with a box of photos: from adding them to saving the results."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from playwright.sync_api import Route, expect

from tests.e2e.page.visitor import Visitor
from tests.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
Visit = Callable[..., Visitor]
#: Counts the photos that the browser keeps.
KEPT = """() => new Promise((resolve) => {
  const open = indexedDB.open("facemend");
  open.onsuccess = () => {
    const count = open.result.transaction("photos").objectStore("photos").count();
    count.onsuccess = () => { open.result.close(); resolve(count.result); };
  };
})"""


def jobs(client: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/v1/restorations", params={"limit": 100}).json()[
        "data"
    ]
    return found


def test_twelve_photos_are_restored_while_one_is_looked_at(
    visit: Visit, client: httpx.Client, box_of_photos: list[Path]
) -> None:
    visitor = visit()
    visitor.screenshot("empty")
    visitor.add(box_of_photos)
    visitor.screenshot("ready")
    expect(visitor.page.locator("#restore")).to_have_text("Restore 12 photos")
    visitor.restore()
    visitor.look_at("grace-1.png")
    visitor.screenshot("running")
    visitor.wait_until_done()
    expect(visitor.page.locator("#count")).to_contain_text("12 photos · 1 failed · 11 done")
    assert visitor.state("grace-5.png") == "succeeded"
    assert len(jobs(client)) == 12

    visitor.look_at("broken-scan.jpg")
    expect(visitor.page.locator("#photo-problem-title")).to_have_text("The file is damaged")
    expect(visitor.page.locator("#photo-problem-text")).to_contain_text("Copy it again")
    visitor.screenshot("error")

    visitor.page.keyboard.press("Escape")
    visitor.screenshot("done")
    with visitor.page.expect_download() as download:
        visitor.page.locator("#save-all").click()
    archive = zipfile.ZipFile(download.value.path())
    assert archive.testzip() is None
    names = archive.namelist()
    assert len(names) == 11
    assert {"eileen-1-restored.jpg", "grace-1-restored.png", "mirror-restored.webp"} <= set(names)
    assert Image.open(io.BytesIO(archive.read("grace-1-restored.png"))).size == (400, 400)


def test_one_result_and_its_comparison_are_saved_under_the_name_of_the_photo(
    visit: Visit, box_of_photos: list[Path]
) -> None:
    visitor = visit()
    visitor.add([box_of_photos[1]])
    visitor.restore()
    visitor.wait_until_done()
    visitor.look_at("eileen-1.jpg")
    with visitor.page.expect_download() as result:
        visitor.page.locator("#download").click()
    assert result.value.suggested_filename == "eileen-1-restored.jpg"
    address = visitor.page.locator("#manifest").get_attribute("href")
    manifest = httpx.get(str(address), trust_env=False)
    assert manifest.json()["signatures"]
    with visitor.page.expect_download() as comparison:
        visitor.page.locator("#comparison").click()
    assert comparison.value.suggested_filename == "eileen-1-before-after.jpg"
    with Image.open(comparison.value.path()) as picture:
        assert picture.size == (2 * 340 + 8, 400)


def test_chosen_photos_are_restored_saved_and_erased(
    visit: Visit, client: httpx.Client, box_of_photos: list[Path]
) -> None:
    visitor = visit()
    visitor.add(box_of_photos[1:5])
    visitor.photo("eileen-1.jpg").locator("input").check()
    visitor.photo("eileen-3.jpg").locator("input").check()
    expect(visitor.page.locator("#restore")).to_have_text("Restore 2 photos")
    visitor.restore()
    visitor.wait_until_done()
    assert visitor.state("eileen-1.jpg") == "succeeded"
    assert visitor.state("eileen-2.jpg") == "ready"
    visitor.page.locator("#erase-chosen").click()
    visitor.page.locator("#confirm-yes").click()
    expect(visitor.photos).to_have_count(2)
    assert jobs(client) == []


def test_after_a_reload_in_the_middle_everything_goes_on_and_nothing_is_done_twice(
    visit: Visit, client: httpx.Client, box_of_photos: list[Path]
) -> None:
    visitor = visit()
    visitor.add(box_of_photos[1:7])
    seen: list[Route] = []

    def let_two_pass(route: Route) -> None:
        seen.append(route)
        if len(seen) <= 2:  # the others stay on their way
            route.continue_()

    visitor.page.route("**/v1/restorations", let_two_pass)
    visitor.restore()
    expect(visitor.page.locator('.photo[data-state="sending"]')).to_have_count(2)
    expect(visitor.page.locator('.photo[data-state="asked"]')).to_have_count(2)
    visitor.page.unroute("**/v1/restorations")
    eventually(lambda: visitor.page.evaluate(KEPT) == 6)
    visitor.reload()
    expect(visitor.photos).to_have_count(6)
    visitor.wait_until_done()
    assert len(jobs(client)) == 6
    visitor.look_at("eileen-1.jpg")
    expect(visitor.page.locator("#before")).to_be_visible()  # the browser has kept the original
    expect(visitor.page.locator("#after")).to_be_visible()


def test_the_history_of_the_key_is_there_for_another_browser_too(
    visit: Visit, box_of_photos: list[Path]
) -> None:
    first = visit()
    first.add(box_of_photos[1:4])
    first.restore()
    first.wait_until_done()
    other = visit()
    expect(other.photos).to_have_count(3)
    other.page.locator("#search").fill("EILEEN-2")
    expect(other.photos.locator("visible=true").locator(".open")).to_have_attribute(
        "title", "eileen-2.jpg"
    )
    other.look_at("eileen-2.jpg")
    expect(other.page.locator("#after")).to_be_visible()
    expect(other.page.locator("#before-missing")).to_be_visible()
    other.page.locator("#erase-one").click()
    other.page.locator("#confirm-yes").click()
    expect(other.photos).to_have_count(2)


def test_a_dropped_selection_a_pasted_picture_and_a_folder_are_taken_whole(
    visit: Visit, box_of_photos: list[Path], tmp_path: Path
) -> None:
    visitor = visit(signed_in=False)
    make = """async () => {
      const canvas = new OffscreenCanvas(64, 64);
      canvas.getContext("2d").fillRect(0, 0, 64, 64);
      const blob = await canvas.convertToBlob();
      const transfer = new DataTransfer();
      for (const name of NAMES) transfer.items.add(new File([blob], name, { type: TYPE }));
      EVENT
    }"""
    three = make.replace("NAMES", '["a.png", "b.png", "c.png"]').replace("TYPE", '"image/png"')
    drop = """for (const type of ["dragenter", "drop"]) document.body.dispatchEvent(
      new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));"""
    visitor.page.evaluate(three.replace("EVENT", drop))
    expect(visitor.photos).to_have_count(3)
    paste = """document.body.dispatchEvent(
      new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true }));"""
    visitor.page.evaluate(three.replace("EVENT", paste).replace('"b.png", "c.png"', ""))
    expect(visitor.photos).to_have_count(4)

    folder = tmp_path / "album" / "1927"
    folder.mkdir(parents=True)
    for file in box_of_photos[1:4]:
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "notes.txt").write_text("not a photo")
    (folder / ".hidden.jpg").write_bytes(b"")
    visitor.page.set_input_files("#pick-folder", str(tmp_path / "album"))
    expect(visitor.photos).to_have_count(7)
    expect(visitor.page.locator("#notice-title")).to_have_text(
        "1 file is not a photo and was left out."
    )
