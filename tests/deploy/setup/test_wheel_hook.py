from __future__ import annotations

from pathlib import Path

import pytest

from deploy.setup.wheel_hook import rewritten, write_package

ROOT = Path(__file__).resolve().parents[3]
MODULES = {"shared.settings", "worker", "worker.app", "worker.cli"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "from shared.settings import Settings\n",
            "from facemend.shared.settings import Settings\n",
        ),
        ("    from worker import app\n", "    from facemend.worker import app\n"),
        ("import worker.app as app\n", "import facemend.worker.app as app\n"),
        ("é = 1; from shared import x\n", "é = 1; from facemend.shared import x\n"),
        ("run('worker.app:main')\n", "run('facemend.worker.app:main')\n"),
        ('argv = ["-m", "worker.app"]\n', 'argv = ["-m", "facemend.worker.app"]\n'),
        ('"""Run ``python -m worker``."""\n', '"""Run ``python -m facemend.worker``."""\n'),
    ],
)
def test_names_of_our_modules_begin_with_the_name_of_the_package(before: str, after: str) -> None:
    source = f"if True:\n{before}" if before.startswith(" ") else before
    assert rewritten(source, MODULES).endswith(after)


@pytest.mark.parametrize(
    "source",
    [
        "from .settings import Settings\n",
        "import sharedthing\n",
        "from celery import worker\n",
        'role = "worker"\n',
        'name = "worker.busy"\n',
        "x = shared.settings\n",
    ],
)
def test_everything_else_stays_as_it_is(source: str) -> None:
    assert rewritten(source, MODULES) == source


def test_an_import_that_would_leave_old_names_behind_is_refused() -> None:
    with pytest.raises(ValueError, match="line 2: import shared"):
        rewritten("x = 1\nimport shared.settings\n", MODULES)


def test_an_import_inside_a_string_is_refused() -> None:
    with pytest.raises(ValueError, match="an import in a string: from worker"):
        rewritten('CODE = """\nfrom worker.app import main\n"""\n', MODULES)


def test_the_package_has_all_code_and_data_but_not_the_setup_of_a_checkout(tmp_path: Path) -> None:
    package = tmp_path / "facemend"
    write_package(ROOT, package)
    written = {path.relative_to(package).as_posix() for path in package.rglob("*")}
    for name in (
        "__main__.py",
        "api/web/templates/page.html",
        "shared/lua/runs/claim.lua",
        "worker/engine/backends/measured_times.json",
        "worker/weights/bundled/facemend-starter.safetensors",
        "deploy/embedded/stack.py",
        "deploy/docker/healthcheck.py",
    ):
        assert name in written
    assert not [name for name in written if name.startswith("deploy/setup")]
    assert not [name for name in written if "__pycache__" in name or "Dockerfile" in name]
