from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from deploy.setup.lock import LOCKS, REQUIREMENTS, ROOT, fingerprint

ENTRY = re.compile(r"(?m)^([a-z0-9][a-z0-9._-]*)(?:\[[^]]*\])?==(\S+)")


def names(lock: str) -> set[str]:
    return {name for name, _ in ENTRY.findall((REQUIREMENTS / lock).read_text())}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_is_made_from_what_the_project_asks_for_now(lock: str) -> None:
    first_line = (REQUIREMENTS / lock).read_text().partition("\n")[0]
    assert first_line.endswith(fingerprint()), "run: make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_each_locked_package_has_a_hash_and_no_file_names_a_host(lock: str) -> None:
    text = (REQUIREMENTS / lock).read_text()
    blocks = re.split(r"(?m)^(?=[a-z0-9])", text)[1:]
    assert blocks
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text


def test_the_api_is_locked_without_the_heavy_packages() -> None:
    heavy = {"numpy", "torch", "opencv-python-headless", "onnxruntime", "pillow", "scipy"}
    assert not names("api.lock") & heavy
    assert {"flask", "gunicorn", "redis", "celery"} <= names("api.lock")


def test_the_api_and_the_notifier_run_with_what_is_locked_for_them() -> None:
    """Import all of it in a Python in which no other package can be found."""
    script = (
        "import importlib.metadata as metadata, re, sys\n"
        "allowed = {'facemend', *sys.argv[1:]}\n"
        "owners = metadata.packages_distributions()\n"
        "class NotLocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        dists = {re.sub('[-_.]+', '-', d).lower() for d in owners.get(name, ())}\n"
        "        if dists and not dists & allowed:\n"
        "            raise ModuleNotFoundError(f'{name} is not in api.lock', name=name)\n"
        "sys.meta_path.insert(0, NotLocked())\n"
        "import api, gunicorn.app.wsgiapp, gunicorn.workers.gthread, worker.notifier.notifier\n"
        "import kombu.transport.redis, celery.app.amqp, botocore.auth, deploy.docker.healthcheck\n"
        "import worker.commands.keys\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, *names("api.lock")],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr


def test_torch_is_in_no_lock_file_and_what_it_imports_is() -> None:
    for lock in LOCKS:
        assert "torch" not in names(lock)
        assert "opencv-python" not in names(lock)
    assert {"filelock", "sympy", "networkx", "jinja2", "fsspec"} <= names("worker.lock")


def test_the_packages_installed_bare_are_pinned_as_the_project_pins_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = dict(ENTRY.findall((REQUIREMENTS / "bare.lock").read_text()))
    asked = dict(
        line.split("==") for line in project["optional-dependencies"]["worker"] if "==" in line
    )
    assert pinned == {name: asked[name] for name in ("facexlib", "torchvision")}


def test_one_pin_of_torch_for_project_and_setup() -> None:
    from deploy.setup.torch_build import TORCH

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert TORCH in project["optional-dependencies"]["worker"]


def test_pip_comes_with_the_checkout_under_the_hash_that_setup_expects() -> None:
    import hashlib

    from deploy.setup.install import PIP_SHA256, PIP_WHEEL

    assert hashlib.sha256(Path(PIP_WHEEL).read_bytes()).hexdigest() == PIP_SHA256
