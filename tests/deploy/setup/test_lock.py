from __future__ import annotations

import re
import shutil
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
def test_each_lock_file_is_up_to_date_with_its_inputs(lock: str) -> None:
    first_line = (REQUIREMENTS / lock).read_text().partition("\n")[0]
    assert first_line.endswith(fingerprint()), "run: make lock"


def test_a_comment_in_an_input_does_not_make_the_lock_files_out_of_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint()
    shutil.copytree(REQUIREMENTS, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr("deploy.setup.lock.REQUIREMENTS", tmp_path)
    s3 = tmp_path / "s3.in"
    s3.write_text("# A comment.\n" + s3.read_text())
    assert fingerprint() == before
    s3.write_text(s3.read_text() + "another-package\n")
    assert fingerprint() != before


@pytest.mark.parametrize("lock", LOCKS)
def test_each_locked_package_has_a_hash_and_no_lock_file_names_a_host(lock: str) -> None:
    text = (REQUIREMENTS / lock).read_text()
    blocks = re.split(r"(?m)^(?=[a-z0-9])", text)[1:]
    assert blocks
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text


def test_the_lock_file_of_the_api_has_no_large_packages() -> None:
    large = {"numpy", "torch", "opencv-python-headless", "onnxruntime", "pillow", "scipy"}
    assert not names("api.lock") & large
    assert {"flask", "h11", "redis", "celery"} <= names("api.lock")


def test_the_api_and_the_notifier_import_only_packages_of_their_lock_file() -> None:
    """In a Python that cannot find any other package."""
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
        "import api, api.server, worker.notifier.notifier\n"
        "import kombu.transport.redis, celery.app.amqp, botocore.auth, deploy.docker.healthcheck\n"
        "import worker.commands.operators.keys\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, *names("api.lock")],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr


def test_no_lock_file_has_torch_but_the_worker_has_what_torch_imports() -> None:
    for lock in LOCKS:
        assert "torch" not in names(lock)
        assert "opencv-python" not in names(lock)
    assert {"filelock", "sympy", "networkx", "jinja2", "fsspec"} <= names("worker.lock")


def test_packages_without_dependencies_have_the_versions_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = dict(ENTRY.findall((REQUIREMENTS / "bare.lock").read_text()))
    wanted = dict(
        line.split("==") for line in project["optional-dependencies"]["worker"] if "==" in line
    )
    assert pinned == {name: wanted[name] for name in ("facexlib", "torchvision")}


def test_the_project_and_the_setup_have_the_same_version_of_torch() -> None:
    from deploy.setup.torch_build import TORCH

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert TORCH in project["optional-dependencies"]["worker"]


def test_the_lock_file_of_the_demo_is_a_part_of_that_of_the_tests() -> None:
    """Two layers with two versions of a package would mix them."""
    everything = set(ENTRY.findall((REQUIREMENTS / "dev.lock").read_text()))
    for lock in ("run.lock", "bare-demo.lock"):
        assert set(ENTRY.findall((REQUIREMENTS / lock).read_text())) <= everything


def test_the_base_is_small() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = {re.split("[~=<>[]", line)[0] for line in project["dependencies"]}
    assert base.isdisjoint({"boto3", "celery", "flask", "numpy", "redis", "torch"})


def test_the_extra_all_has_every_extra_of_a_service_on_one_machine() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    (line,) = extras["all"]
    named = set(line.partition("[")[2].rstrip("]").split(","))
    assert {"api", "worker", "embedded", "openvino", "demo"} <= named <= set(extras)
