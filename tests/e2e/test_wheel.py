"""The wheel in an environment of its own, beside other software with the names of our folders."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import httpx
import pytest
from PIL import Image

from deploy.embedded.child_process import ChildProcess
from tests.conftest import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

_IMPORT_EVERYTHING = """
import importlib, pkgutil, sys, facemend
for module in pkgutil.walk_packages(facemend.__path__, "facemend."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
import shared
tops = {name.split(".")[0] for name in sys.modules}
print(shared.OWNER, sorted(tops & {"api", "deploy", "worker"}))
"""


@pytest.fixture(scope="module")
def facemend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of a new environment: our wheel, a foreign package ``shared``, dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"]
    build += ["--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(build, check=True)
    environment = folder / "environment"
    venv.EnvBuilder(symlinks=True, with_pip=False).create(environment)
    python = environment / "bin" / "python"
    wheels = [str(wheel) for wheel in folder.glob("facemend-*.whl")]
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*install, "--no-deps", "--no-index", *wheels], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "shared").mkdir()
    (packages / "shared" / "__init__.py").write_text("OWNER = 'other software'\n")
    # A plain line: it does not read the link to the checkout there.
    dependencies = Path(sys.prefix) / packages.relative_to(environment)
    (packages / "dependencies.pth").write_text(f"{dependencies}\n")
    return environment / "bin" / "facemend"


def run(*argv: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(argv, cwd=cwd, env=environ, capture_output=True, text=True, check=False)


def test_every_module_of_the_package_imports_and_none_is_outside_of_it(
    facemend: Path, tmp_path: Path
) -> None:
    done = run(facemend.with_name("python"), "-c", _IMPORT_EVERYTHING, cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("other software []\n", 0), done.stderr


def test_restore_restores_a_photo(facemend: Path, astronaut: Path, tmp_path: Path) -> None:
    with Image.open(astronaut) as photo:
        photo.resize((256, 256)).resize((512, 512)).save(tmp_path / "photo.png")
    done = run(facemend, "restore", "photo.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 face(s) restored" in done.stdout
    assert (tmp_path / "output_photo.png").is_file()


def test_up_serves_a_job_from_its_submission_to_its_result(
    facemend: Path, astronaut: Path, tmp_path: Path
) -> None:
    up = ChildProcess(
        "up", [str(facemend), "up", "--data", str(tmp_path / "data")], folder=tmp_path, cwd=tmp_path
    )
    up.start()
    try:
        up.wait_until(lambda: "Ctrl-C stops it." in up.log_tail(30), timeout_s=200)
        address = re.findall(r"address +(\S+)", up.log_tail(30))[0]
        key = re.findall(r"API key +(\S+)", up.log_tail(30))[0]
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=address, headers=headers, trust_env=False, timeout=90) as client:
            image = ("photo.png", astronaut.read_bytes(), "image/png")
            job = client.post("/v1/restorations", files={"image": image}).json()
            job = client.get(f"/v1/restorations/{job['id']}", params={"wait": 60}).json()
            assert job["status"] == "succeeded", job
            assert len(job["result"]["faces"]) == 1
    finally:
        up.stop(grace_s=60)
