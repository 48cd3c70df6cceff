"""Chromium for the tests of the page: the one here, or that of Debian, installed if we are root."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
_INSTALL = ("apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium")
_FONTS = "fonts-noto-cjk"  # without it, a screenshot of Chinese shows boxes


def find_chromium() -> str | None:
    """Return the path of a Chromium, None if there is none and none can be installed."""
    if found := _on_path():
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return None
    # One process at a time: the tests run in two.
    with (Path(tempfile.gettempdir()) / "facemend-chromium.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _on_path() or _install()


def _on_path() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def _install() -> str | None:
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (("apt-get", "update", "-q"), (*_INSTALL, _FONTS)):
        subprocess.run(command, env=environ, check=False, stdout=subprocess.DEVNULL)  # noqa: S603 - ours
    return _on_path()
