"""Make the environment: ``make setup``. Standard library only; Python 3.11 to 3.14.

The heavy part lies in a cache, one folder for each set of lock files and Python, shared by all
checkouts and kept when a checkout goes. ``.venv`` in the checkout is a thin environment on top of
it which holds the project itself, installed so that edits count at once.

FACEMEND_CACHE         where the cache is (default: $XDG_CACHE_HOME or ~/.cache, /facemend)
FACEMEND_TORCH…        which build of torch, see torch_build.py
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from deploy.setup import torch_build
from deploy.setup.pip_progress import PipFailed, run_pip

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
# Debian and Ubuntu leave pip and ensurepip out of their Python, so pip comes with the checkout.
PIP_WHEEL = REQUIREMENTS / "pip-26.3-py3-none-any.whl"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"


class SetupFailed(Exception):
    """Told to the person in one line; what pip said is in the log."""


def main() -> int:
    """Make what is missing; returns the exit code."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 14):
        print("Facemend needs Python 3.11 to 3.14; this is", sys.version.split()[0])
        return 1
    try:
        base = cache_folder(os.environ) / f"env-{environment_key(os.environ)}"
        make_environment(base)
        make_checkout_environment(base)
    except (SetupFailed, PipFailed, OSError) as error:
        print(f"setup failed: {error}", file=sys.stderr)
        return 1
    return 0


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where environments are kept; inside the checkout when there is no home to write to."""
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


def environment_key(environ: Mapping[str, str]) -> str:
    """Sixteen hex digits of all that decides what is installed."""
    digest = hashlib.sha256()
    pins = [
        line
        for name in ("dev.lock", "bare.lock")
        for line in (REQUIREMENTS / name).read_text().splitlines()
        if not line.lstrip().startswith("#")
    ]
    build = environ.get("FACEMEND_TORCH", "cpu")
    for part in (*pins, torch_build.TORCH, build, sys.version, sys.base_prefix):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:16]


def make_environment(folder: Path) -> None:
    """Install everything but the project into ``folder``, unless it is there and complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_suffix(".lock")):
        if (folder / "complete").exists():
            print(f"environment: {folder} (cached, {(folder / 'complete').read_text().strip()})")
            return
        started = time.monotonic()
        print(f"environment: making {folder}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        python = _bare_environment(folder)
        torch_build.install(python, os.environ)
        print("installing the locked packages", flush=True)
        lock = str(REQUIREMENTS / "dev.lock")
        run_pip(python, ["install", "--require-hashes", "--no-deps", "-r", lock])
        lock = str(REQUIREMENTS / "bare.lock")
        run_pip(python, ["install", "--require-hashes", "--no-deps", "-r", lock])
        summary = f"{_size_mb(folder):,} MB, made in {time.monotonic() - started:.0f} s"
        (folder / "complete").write_text(summary + "\n")
        print(f"environment: {summary}", flush=True)


def make_checkout_environment(base: Path) -> None:
    """``.venv``: sees all of ``base``, and the project's own files where they lie."""
    folder = ROOT / ".venv"
    key = f"{base}\n{hashlib.sha256((ROOT / 'pyproject.toml').read_bytes()).hexdigest()}\n"
    marker = folder / "complete"
    if marker.exists() and marker.read_text() == key:
        return
    print("environment: linking this checkout to it in .venv", flush=True)
    if folder.is_symlink():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    python = _create(folder)
    line = f"import site; site.addsitedir({str(_site_packages(base))!r})\n"
    (_site_packages(folder) / "facemend_cache.pth").write_text(line)
    argv = ["install", "--no-index", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    run_pip(python, argv)
    _offer_programs(base, folder)
    marker.write_text(key)


def _offer_programs(base: Path, folder: Path) -> None:
    """Give ``folder`` the programs of ``base``; Python ones run with the Python of ``folder``."""
    theirs, ours = str(base / "bin" / "python"), str(folder / "bin" / "python")
    for program in sorted((base / "bin").iterdir()):
        target = folder / "bin" / program.name
        if target.exists() or target.is_symlink() or not program.is_file():
            continue
        with program.open("rb") as file:
            head = file.read(1024)
        if head.startswith(b"#!") and theirs.encode() in head:
            target.write_text(program.read_text().replace(theirs, ours))
            target.chmod(0o755)
        else:
            target.symlink_to(program)


def _bare_environment(folder: Path) -> Path:
    """Make an environment with nothing but pip, from the wheel that came with the checkout."""
    found = hashlib.sha256(PIP_WHEEL.read_bytes()).hexdigest()
    if found != PIP_SHA256:
        raise SetupFailed(f"{PIP_WHEEL} is damaged: sha256 {found}, expected {PIP_SHA256}")
    python = _create(folder)
    wheel = str(PIP_WHEEL)
    subprocess.run(  # noqa: S603  # a wheel runs as a zip file
        [python, f"{wheel}/pip", "install", "--quiet", "--no-index", wheel], check=True
    )
    return python


def _create(folder: Path) -> Path:
    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    return folder / "bin" / "python"


def _site_packages(folder: Path) -> Path:
    return Path(sysconfig.get_path("purelib", "venv", vars={"base": str(folder)}))


def _size_mb(folder: Path) -> int:
    files: Sequence[os.stat_result] = [
        path.lstat() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()
    ]
    return sum(entry.st_size for entry in files) // 1_000_000


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock file; two at once would install into one another."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("environment: another setup is at work; waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())
