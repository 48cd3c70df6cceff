"""Create the environment: ``make setup``. Standard library only; Python 3.11 to 3.14.

The large packages are in a cache that all checkouts share, one folder for each set of lock files
and Python. The folder of ``run`` has what the service needs; that of ``dev``, on top of it, has the
tests and their tools. ``.venv`` in the checkout is a small environment on top of both. It holds the
project itself as an editable install. With ``--only-run``, ``dev`` is left out.

FACEMEND_CACHE         folder of the cache (default: facemend in $XDG_CACHE_HOME or ~/.cache)
FACEMEND_TORCH…        the build of torch, see torch_build.py
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import sys
import sysconfig
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from deploy.setup import torch_build
from deploy.setup.installer import REQUIREMENTS, ROOT, Installer, InstallFailed, pip, run

#: Lock files of each folder. All are complete, so nothing is installed for its sake.
_RUN = ("run.lock", "bare.lock", "bare-demo.lock")
_DEV = ("dev.lock", "bare-dev.lock")
_ENTRY = re.compile(r"(?m)^(?=[a-z0-9][a-z0-9._-]*==)")


def main() -> int:
    """Create what is missing, and return the exit code."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 14):
        print("Facemend needs Python 3.11 to 3.14; this is", sys.version.split()[0])
        return 1
    try:
        cache = cache_folder(os.environ)
        layers = [make_run_environment(cache)]
        if "--only-run" not in sys.argv:
            layers.insert(0, make_dev_environment(cache))
        make_checkout_environment(layers)
    except (InstallFailed, OSError) as error:
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


def environment_key(environ: Mapping[str, str], locks: Sequence[str]) -> str:
    """Hash everything that decides what is installed, to 16 hex digits."""
    digest = hashlib.sha256()
    pins = [
        line
        for name in locks
        for line in (REQUIREMENTS / name).read_text().splitlines()
        if not line.lstrip().startswith("#")
    ]
    build = environ.get("FACEMEND_TORCH", "cpu")
    for part in (*pins, torch_build.TORCH, build, sys.version, sys.base_prefix):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:16]


def make_run_environment(cache: Path) -> Path:
    """Install what the service and the demo need, unless it is there. Return the folder."""
    folder = cache / f"run-{environment_key(os.environ, _RUN)}"

    def install(installer: Installer, python: Path) -> None:
        torch_build.install(installer, python, os.environ)
        print("installing the locked packages", flush=True)
        locks = [word for name in _RUN for word in ("-r", str(REQUIREMENTS / name))]
        installer.install(python, "--require-hashes", "--no-deps", *locks)

    _complete(folder, install)
    return folder


def make_dev_environment(cache: Path) -> Path:
    """Install what the tests need besides that, unless it is there. Return the folder."""
    folder = cache / f"dev-{environment_key(os.environ, (*_RUN, *_DEV))}"

    def install(installer: Installer, python: Path) -> None:
        print("installing the locked packages of the tests", flush=True)
        lock = folder / "dev.lock"
        lock.write_text(missing_packages(*((REQUIREMENTS / name).read_text() for name in _DEV)))
        installer.install(python, "--require-hashes", "--no-deps", "-r", str(lock))

    _complete(folder, install)
    return folder


def missing_packages(*locks: str) -> str:
    """Return the entries of ``locks`` whose packages are not in those of the run environment."""
    run_locks = [(REQUIREMENTS / name).read_text() for name in _RUN]
    there = {entry.split("==")[0] for lock in run_locks for entry in _ENTRY.split(lock)[1:]}
    entries = [entry for lock in locks for entry in _ENTRY.split(lock)[1:]]
    return "".join(entry for entry in entries if entry.split("==")[0] not in there)


def _complete(folder: Path, install: Callable[[Installer, Path], None]) -> None:
    """Create an environment in ``folder`` and fill it, unless it is complete already."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_suffix(".lock")):
        if (folder / "complete").exists():
            print(f"environment: {folder} (cached, {(folder / 'complete').read_text().strip()})")
            return
        started = time.monotonic()
        print(f"environment: creating {folder}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        python = _create(folder)
        with Installer(folder.parent) as installer:
            install(installer, python)
        summary = f"{_size_mb(folder):,} MB, created in {time.monotonic() - started:.0f} s"
        (folder / "complete").write_text(summary + "\n")
        print(f"environment: {summary}", flush=True)


def make_checkout_environment(layers: Sequence[Path]) -> None:
    """Create ``.venv``: the packages of all layers, and the project as an editable install."""
    folder = ROOT / ".venv"
    project = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    key = "".join(f"{part}\n" for part in (*layers, project))
    marker = folder / "complete"
    if marker.exists() and marker.read_text().endswith(key):  # with tests is good without them too
        return
    print("environment: linking this checkout to it in .venv", flush=True)
    if folder.is_symlink():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    python = _create(folder)
    lines = [f"site.addsitedir({str(_site_packages(layer))!r})" for layer in layers]
    (_site_packages(folder) / "facemend_cache.pth").write_text(
        "; ".join(["import site", *lines]) + "\n"
    )
    argv = ["install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--editable"]
    run([*pip(python), *argv, str(ROOT)])
    for layer in layers:
        _link_programs(layer, folder)
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
