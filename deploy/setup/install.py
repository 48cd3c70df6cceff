"""Create the environment ``.venv``: ``make setup``. Standard library only; Python 3.11 to 3.14.

uv links the packages into it from a cache that all checkouts share. It has the packages of the lock
files, and the project itself as an editable install. With ``--only-run``, the tests and their tools
are left out.

FACEMEND_CACHE         folder of the cache (default: facemend in $XDG_CACHE_HOME or ~/.cache)
FACEMEND_TORCH…        the build of torch, see torch_build.py
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import time
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from deploy.setup import torch_build
from deploy.setup.installer import REQUIREMENTS, ROOT, Installer, InstallFailed

#: The lock files are complete, so nothing is installed for the sake of another package.
_RUN = ("run.lock", "bare.lock", "bare-demo.lock")
_TESTS = ("dev.lock", "bare.lock", "bare-demo.lock", "bare-dev.lock")


def main() -> int:
    """Create what is missing, and return the exit code."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 14):
        print("Facemend needs Python 3.11 to 3.14; this is", sys.version.split()[0])
        return 1
    try:
        cache = cache_folder(os.environ)
        cache.mkdir(parents=True, exist_ok=True)
        with _one_setup(cache):
            make_environment(ROOT / ".venv", cache, with_tests="--only-run" not in sys.argv)
    except (InstallFailed, OSError) as error:
        print(f"setup failed: {error}", file=sys.stderr)
        return 1
    return 0


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of the packages; in the checkout if the home is not writable."""
    if chosen := environ.get("FACEMEND_CACHE"):
        return Path(chosen).expanduser().resolve()
    try:
        caches = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        caches.mkdir(parents=True, exist_ok=True)
        if os.access(caches, os.W_OK):
            return caches.resolve() / "facemend"
    except (OSError, RuntimeError):
        pass
    return ROOT / ".cache" / "facemend"


def make_environment(folder: Path, cache: Path, *, with_tests: bool) -> None:
    """Create the environment in ``folder``, unless it is complete.

    One with tests is good without them too. Raises InstallFailed.
    """
    marker = folder / "complete"
    keys = {tests: environment_key(os.environ, with_tests=tests) for tests in (True, with_tests)}
    if marker.exists() and marker.read_text() in keys.values():
        return
    started = time.monotonic()
    print(f"environment: creating {folder}; the packages lie in {cache}", flush=True)
    if folder.is_symlink():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    venv.EnvBuilder(symlinks=True).create(folder)
    python = folder / "bin" / "python"
    installer = Installer(cache)
    torch_build.install(installer, python, os.environ)
    print("installing the locked packages", flush=True)
    locks = [f"--requirements={REQUIREMENTS / name}" for name in (_TESTS if with_tests else _RUN)]
    installer.install(python, "--require-hashes", "--no-deps", *locks)
    project = ["--no-index", "--no-deps", "--no-build-isolation", f"--editable={ROOT}"]
    installer.install(python, *project)
    marker.write_text(keys[with_tests])
    print(f"environment: created in {time.monotonic() - started:.0f} s", flush=True)


def environment_key(environ: Mapping[str, str], *, with_tests: bool) -> str:
    """Hash everything that decides what is installed."""
    files = [REQUIREMENTS / name for name in (_TESTS if with_tests else _RUN)]
    texts = [path.read_text() for path in (*files, ROOT / "pyproject.toml")]
    build = environ.get("FACEMEND_TORCH", "cpu")
    python = (sys.version, sys.base_prefix)
    parts = (*texts, torch_build.TORCH, build, *python)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@contextlib.contextmanager
def _one_setup(cache: Path) -> Iterator[None]:
    """Let a second setup wait: both might install into the same folder."""
    with (cache / "setup.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("environment: waiting for another setup", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())
