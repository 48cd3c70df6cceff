"""Create the environment: ``make setup``. Standard library only; Python 3.11 to 3.14.

The large packages are in a cache that all checkouts share, one folder for each set of lock files
and Python. ``.venv`` in the checkout is a small environment on top of it. It holds the project
itself as an editable install.

FACEMEND_CACHE         folder of the cache (default: facemend in $XDG_CACHE_HOME or ~/.cache)
FACEMEND_TORCH…        the build of torch, see torch_build.py
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
# Debian and Ubuntu leave pip and ensurepip out of their Python, so the repository contains pip.
PIP_WHEEL = REQUIREMENTS / "pip-26.3-py3-none-any.whl"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"


class SetupFailed(Exception):
    """Setup cannot go on; the message is one line for the person who runs it."""


def main() -> int:
    """Create what is missing, and return the exit code."""
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
    """Return the folder of the environments; in the checkout if the home is not writable."""
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
    """Hash everything that decides what is installed, to 16 hex digits."""
    digest = hashlib.sha256()
    pins = [
        line
        for name in ("dev.lock", "bare-dev.lock", "bare.lock")
        for line in (REQUIREMENTS / name).read_text().splitlines()
        if not line.lstrip().startswith("#")
    ]
    build = environ.get("FACEMEND_TORCH", "cpu")
    for part in (*pins, torch_build.TORCH, build, sys.version, sys.base_prefix):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:16]


def make_environment(folder: Path) -> None:
    """Install everything except the project into ``folder``, unless it is complete already."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_suffix(".lock")):
        if (folder / "complete").exists():
            print(f"environment: {folder} (cached, {(folder / 'complete').read_text().strip()})")
            return
        started = time.monotonic()
        print(f"environment: creating {folder}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        python = _bare_environment(folder)
        torch_build.install(python, os.environ)
        print("installing the locked packages", flush=True)
        for name in ("dev.lock", "bare.lock", "bare-dev.lock"):
            lock = str(REQUIREMENTS / name)
            run_pip(python, ["install", "--require-hashes", "--no-deps", "-r", lock])
        summary = f"{_size_mb(folder):,} MB, created in {time.monotonic() - started:.0f} s"
        (folder / "complete").write_text(summary + "\n")
        print(f"environment: {summary}", flush=True)


def make_checkout_environment(base: Path) -> None:
    """Create ``.venv``: the packages of ``base``, and the project as an editable install."""
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
    _link_programs(base, folder)
    marker.write_text(key)


def _link_programs(base: Path, folder: Path) -> None:
    """Make the programs of ``base`` available in ``folder``; scripts run with its Python."""
    base_python, own_python = str(base / "bin" / "python"), str(folder / "bin" / "python")
    for program in sorted((base / "bin").iterdir()):
        target = folder / "bin" / program.name
        if target.exists() or target.is_symlink() or not program.is_file():
            continue
        with program.open("rb") as file:
            head = file.read(1024)
        if head.startswith(b"#!") and base_python.encode() in head:
            target.write_text(program.read_text().replace(base_python, own_python))
            target.chmod(0o755)
        else:
            target.symlink_to(program)


def _bare_environment(folder: Path) -> Path:
    """Create an environment that has only pip, from the wheel in the repository."""
    found = hashlib.sha256(PIP_WHEEL.read_bytes()).hexdigest()
    if found != PIP_SHA256:
        raise SetupFailed(f"{PIP_WHEEL} is damaged: sha256 {found}, expected {PIP_SHA256}")
    python = _create(folder)
    wheel = str(PIP_WHEEL)
    subprocess.run(  # noqa: S603  # Python can run a wheel as a zip file
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
    """Hold the lock file: two setups must not install into the same folder."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("environment: waiting for another setup", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())
