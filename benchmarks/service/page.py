"""The page in a browser: how soon it is painted, and how much it loads."""

from __future__ import annotations

import gzip
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser, sync_playwright

from benchmarks.report import Report
from benchmarks.service.api_process import running_api
from deploy.setup.chromium import ARGUMENTS, find_chromium

#: Own scripts and styles, compressed by gzip.
MAX_BYTES = 60_000
MAX_FIRST_PAINT_MS = 1_000
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
_STATIC = Path(__file__).resolve().parents[2] / "api" / "web" / "static"


def measure_page(report: Report, folder: Path, repetitions: int) -> None:
    """Open the page with an empty cache, ``repetitions`` times. Needs Chromium."""
    report.section(
        "The page",
        "First paint: First Contentful Paint (Paint Timing, W3C), with an empty cache, on this"
        " machine. Ready: the scripts have run.",
    )
    path = find_chromium()
    if path is None:
        report.fact("the page", "not measured: no Chromium")
        return
    with running_api(folder) as api, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        times = [_open(browser, api.url) for _ in range(repetitions)]
        browser.close()
    report.require("first paint", median(one for one, _ in times), "<=", MAX_FIRST_PAINT_MS, " ms")
    report.fact("ready, ms", median(other for _, other in times))
    report.require("own scripts and styles, gzip", _own_bytes(), "<=", MAX_BYTES, " bytes")


def _open(browser: Browser, url: str) -> tuple[float, float]:
    """Return the milliseconds until the first paint, and until the page is ready."""
    page = browser.new_page()
    page.goto(url)
    page.locator("body[data-ready]").wait_for(state="attached")
    found = float(page.evaluate(_PAINT)), float(page.evaluate("performance.now()"))
    page.close()
    return found


def _own_bytes() -> int:
    folders = ("common", "page", "style")
    files = [file for folder in folders for file in (_STATIC / folder).iterdir()]
    return sum(len(gzip.compress(file.read_bytes())) for file in files if file.name != "admin.css")
