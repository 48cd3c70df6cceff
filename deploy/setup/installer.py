"""Installs locked packages with uv, which downloads and unpacks in parallel.

uv does not read the configuration of pip, so what pip says of indexes, certificates and proxies is
handed on.
"""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
# Debian and Ubuntu leave pip and ensurepip out of their Python, so the repository contains pip.
PIP_WHEEL = REQUIREMENTS / "pip-26.3-py3-none-any.whl"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
#: Option of pip's configuration → variable of uv.
_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "proxy": "ALL_PROXY",
}
#: The options whose value is a list; uv separates find-links by commas.
_SEPARATORS = {"extra-index-url": " ", "trusted-host": " ", "find-links": ","}


class InstallFailed(Exception):
    """The installer ended with an error; the message has its last lines."""


class Installer:
    """uv and its cache. On the disk of the environments, uv links files, and copies none."""

    def __init__(self, cache: Path) -> None:
        """Install uv into ``cache``, unless it is there. Raises InstallFailed."""
        lock = REQUIREMENTS / "installer.lock"
        folder = cache / f"uv-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
        self._uv, self._packages = folder / "bin" / "uv", cache / "packages"
        if not self._uv.exists():
            options = ["--quiet", "--no-deps", "--require-hashes", "--requirement", str(lock)]
            with tempfile.TemporaryDirectory(dir=cache) as unfinished:
                target = Path(unfinished) / "uv"
                run([*pip(), "install", *options, "--target", str(target)])
                target.rename(folder)

    def install(self, python: Path, *arguments: str, patient: bool = True) -> None:
        """Install into the environment of ``python``; only if ``patient``, wait for a slow index.

        Raises InstallFailed.
        """
        argv = [str(self._uv), "pip", "install", "--python", str(python), "--no-config"]
        ours = {
            "UV_CACHE_DIR": str(self._packages),
            "UV_INDEX_STRATEGY": "unsafe-best-match",  # as pip does; hashes say what is wanted
        }
        hurry = {} if patient else {"UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": "10"}
        run([*argv, *arguments], {**variables(os.environ), **ours, **hurry})


def pip() -> list[str]:
    """Return the command of the pip in the repository. Raises InstallFailed if it is damaged."""
    found = hashlib.sha256(PIP_WHEEL.read_bytes()).hexdigest()
    if found != PIP_SHA256:
        raise InstallFailed(f"{PIP_WHEEL} is damaged: sha256 {found}, expected {PIP_SHA256}")
    # Python can run a wheel as a zip file.
    return [sys.executable, f"{PIP_WHEEL}/pip", "--no-input", "--disable-pip-version-check"]


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what pip is told of indexes, certificates and proxies, as variables for uv.

    The later of two values counts, as for pip. What ``environ`` says to uv itself has precedence.
    """
    argv = [*pip(), "config", "list"]
    listed = subprocess.run(argv, capture_output=True, text=True, check=False)  # noqa: S603
    found: dict[str, str] = {}
    for line in listed.stdout.splitlines():
        key, _, value = line.partition("=")
        option = key.rpartition(".")[2]
        if (name := _VARIABLES.get(option)) and name not in environ:
            found[name] = _SEPARATORS.get(option, " ").join(str(ast.literal_eval(value)).split())
    return found


def run(argv: list[str], more: Mapping[str, str] | None = None) -> None:
    """Run an installer. A terminal sees its progress. Raises InstallFailed."""
    done = subprocess.run(  # noqa: S603  # a fixed command
        argv,
        stdin=subprocess.DEVNULL,
        stdout=None if sys.stdout.isatty() else subprocess.PIPE,
        stderr=None if sys.stderr.isatty() else subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "PIP_ROOT_USER_ACTION": "ignore", **(more or {})},
    )
    if done.returncode:
        lines = [line for line in (done.stdout or "").splitlines() if "WARNING: Loc" not in line]
        raise InstallFailed("\n  ".join([f"{Path(argv[0]).name} says:", *lines[-12:]]))
