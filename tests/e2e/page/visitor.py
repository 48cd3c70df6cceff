"""A person at the page: what they do, and what they see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect


class Visitor:
    """One tab of a browser."""

    def __init__(self, page: Page, url: str, screenshots: Path) -> None:
        self.page, self.url = page, url
        self._screenshots = screenshots

    def open(self, path: str = "/", token: str | None = None) -> None:
        self.page.goto(f"{self.url}{path}" + (f"#token={token}" if token else ""))
        self.wait_until_ready()

    def reload(self) -> None:
        self.page.reload()
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        expect(self.page.locator("body[data-ready]")).to_be_attached()

    # --- photos ---------------------------------------------------------------------------------

    def add(self, files: Sequence[Path]) -> None:
        before = self.photos.count()
        self.page.set_input_files("#pick-photos", [str(file) for file in files])
        expect(self.photos).to_have_count(before + len(files))

    def restore(self) -> None:
        self.page.locator("#restore").click()

    def wait_until_done(self) -> None:
        expect(self.page.locator(".photo.busy")).to_have_count(0)

    def look_at(self, name: str) -> None:
        self.photo(name).locator(".open").click()
        expect(self.page.locator("#photo-name")).to_have_text(name)

    @property
    def photos(self) -> Locator:
        return self.page.locator("#photos .photo")

    def photo(self, name: str) -> Locator:
        return self.photos.filter(has=self.page.locator(f'.open[title="{name}"]'))

    def state(self, name: str) -> str | None:
        return self.photo(name).get_attribute("data-state")

    # --- what it looks like ------------------------------------------------------------------

    def screenshot(self, name: str) -> None:
        self._screenshots.mkdir(exist_ok=True)
        self.page.screenshot(path=self._screenshots / f"{name}.png", animations="disabled")

    def assert_accessible(self) -> None:
        """Fail for what axe-core counts as serious or critical."""
        found: list[dict[str, Any]] = Axe().run(self.page).response["violations"]
        grave = [
            f"{one['id']}: {one['help']}: {[node['target'] for node in one['nodes'][:3]]}"
            for one in found
            if one["impact"] in {"serious", "critical"}
        ]
        assert grave == []

    def assert_nothing_sticks_out(self) -> None:
        """Fail if the page is wider than the screen."""
        width = self.page.viewport_size["width"]  # type: ignore[index]
        assert self.page.evaluate("document.scrollingElement.scrollWidth") <= width
