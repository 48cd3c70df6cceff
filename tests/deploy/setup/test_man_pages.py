"""The man pages, as ``man`` shows them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.setup.man_pages import write_man_pages
from worker.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("man")
    write_man_pages(folder, "1.2.3", "2026-12-01")
    return folder


def shown(page: Path) -> str:
    if shutil.which("man") is None or shutil.which("groff") is None:
        pytest.skip("man and groff are not installed, so no page is shown")
    environ = {"MANWIDTH": "100", "MAN_KEEP_FORMATTING": "", "LC_ALL": "C.UTF-8"}
    path = {"PATH": "/usr/bin:/bin"}
    argv = ["man", "--warnings", "-l", str(page)]
    done = subprocess.run(argv, env=environ | path, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


def test_each_command_has_a_page(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert {f"facemend-{name}.1" for name in main.commands_by_name} <= names
    assert {"facemend.1", "facemend-jobs-retry.1"} <= names


def test_the_first_page_keeps_its_examples_in_lines_and_names_all_commands(folder: Path) -> None:
    page = shown(folder / "facemend.1")
    assert "facemend restore photo.jpg            one photo, to output_photo.jpg beside it" in page
    assert "1.2.3" in page
    for name in main.commands_by_name:
        assert f"facemend-{name}(1)" in page


def test_a_page_has_options_and_exit_codes(folder: Path) -> None:
    page = shown(folder / "facemend-verify.1")
    assert "facemend-verify - Check RESULT, a picture, against its MANIFEST" in page
    assert "--keys FILE" in page
    assert "\n         2    the command, an argument or a setting is wrong" in page


def test_no_page_has_marks_of_click(folder: Path) -> None:
    for page in folder.iterdir():
        assert "\b" not in page.read_text()
