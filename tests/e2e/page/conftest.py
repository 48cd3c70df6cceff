"""The page in a real Chromium, on the whole service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image, ImageOps
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from deploy.embedded.stack import Stack
from deploy.setup.chromium import ARGUMENTS, find_chromium
from tests.e2e.page.visitor import Visitor
from tests.waiting import eventually

SCREENSHOTS = Path(__file__).resolve().parents[3] / "screenshots"
#: A photo may wait behind others, on a machine that is busy.
PATIENCE_MS = 90_000

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for each file: while it lives, its event loop blocks those of other tests."""
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium on PATH, and only root can install it: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


Visit = Callable[..., Visitor]


@pytest.fixture
def visit(browser: Browser, stack: Stack) -> Iterator[Visit]:
    """Open the page as a new visitor; options are those of a browser context.

    At the end, no page may have reported an error or a violation of its security policy.
    """
    contexts: list[BrowserContext] = []
    reports: list[str] = []

    def visit(path: str = "/", *, signed_in: bool = True, **options: Any) -> Visitor:
        options = {"viewport": {"width": 1280, "height": 800}, "locale": "en-US", **options}
        context = browser.new_context(accept_downloads=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        _watch(page, reports)
        visitor = Visitor(page, stack.url, SCREENSHOTS)
        visitor.open(path, token=stack.api_key if signed_in else None)
        return visitor

    yield visit
    for context in contexts:
        context.close()
    assert reports == []


def _watch(page: Page, reports: list[str]) -> None:
    page.on("pageerror", lambda error: reports.append(str(error)))

    def on_console(message: Any) -> None:
        # The browser itself reports requests that fail; some tests let them fail.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            reports.append(message.text)

    page.on("console", on_console)


@pytest.fixture(autouse=True)
def _no_jobs(request: pytest.FixtureRequest) -> None:
    """Erase the jobs of earlier tests."""
    client: httpx.Client = request.getfixturevalue("client")

    def erase_all() -> bool:
        answer = client.get("/v1/restorations", params={"limit": 100})
        if answer.status_code == 503:  # a busy machine
            return False
        jobs = answer.json()["data"]
        for job in jobs:
            client.delete(f"/v1/restorations/{job['id']}")
        return jobs == []

    eventually(erase_all)


def soften(photo: Image.Image, times: int) -> Image.Image:
    """Lose the fine detail of a photo, as a bad scan does."""
    width, height = photo.size
    small = photo.resize((width // times, height // times), Image.Resampling.LANCZOS)
    return small.resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def portraits(astronaut: Path, grace_hopper: Path) -> tuple[Image.Image, Image.Image]:
    with Image.open(astronaut) as one, Image.open(grace_hopper) as other:
        return (
            soften(one.convert("RGB").crop((60, 0, 400, 400)), 4),
            soften(other.convert("RGB").resize((400, 473)).crop((0, 70, 400, 470)), 5),
        )


@pytest.fixture(scope="session")
def box_of_photos(
    portraits: tuple[Image.Image, Image.Image], tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """Twelve photos: eleven that can be restored, and a damaged one (``broken-scan.jpg``)."""
    folder = tmp_path_factory.mktemp("box")
    one, other = portraits
    for index in range(5):
        shade = ImageOps.colorize(ImageOps.grayscale(one), "#20150b", "#f4e6cc")
        Image.blend(one, shade, index / 4).save(folder / f"eileen-{index + 1}.jpg", quality=85)
        grey = ImageOps.grayscale(other).convert("RGB")
        Image.blend(other, grey, index / 4).save(folder / f"grace-{index + 1}.png")
    ImageOps.mirror(one).save(folder / "mirror.webp", quality=80)
    whole = (folder / "eileen-1.jpg").read_bytes()
    (folder / "broken-scan.jpg").write_bytes(whole[: len(whole) // 3])
    found = sorted(folder.iterdir())
    assert len(found) == 12
    return found


@pytest.fixture(scope="session")
def group_photo(
    portraits: tuple[Image.Image, Image.Image], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Three faces in a row."""
    one, other = portraits
    width = one.width + other.width + one.width
    photo = Image.new("RGB", (width, 400), "#d8d4cc")
    photo.paste(one, (0, 0))
    photo.paste(other, (one.width, 0))
    photo.paste(ImageOps.mirror(one), (one.width + other.width, 0))
    path = tmp_path_factory.mktemp("group") / "three-of-them.png"
    photo.save(path)
    return path
