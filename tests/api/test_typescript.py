"""TypeScript types made from the document, and an example that compiles against them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from api.openapi import Application

PROJECT = Path(__file__).with_name("typescript")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with its locked packages."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, so no TypeScript types are made")
    folder = tmp_path_factory.mktemp("typescript")
    shutil.copytree(PROJECT, folder, dirs_exist_ok=True)
    done = run(folder, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    if done.returncode and "network" in done.stderr.lower():
        pytest.skip("the registry of npm is not reachable, so no TypeScript types are made")
    assert done.returncode == 0, done.stderr
    return folder


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def tool(folder: Path, name: str, *arguments: str) -> str:
    done = run(folder, str(folder / "node_modules" / ".bin" / name), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(600)
def test_an_example_in_typescript_compiles_against_the_types_of_the_document(
    app: Application, project: Path
) -> None:
    (project / "openapi.json").write_text(json.dumps(app.api_doc))
    # Fields with defaults may be left out of requests.
    options = ("--default-non-nullable=false", "-o", "facemend.d.ts")
    tool(project, "openapi-typescript", "openapi.json", *options)
    tool(project, "tsc")
    wrong = (project / "example.ts").read_text().replace("face.size", "face.unknown")
    (project / "example.ts").write_text(wrong)
    done = run(project, str(project / "node_modules" / ".bin" / "tsc"))
    assert "unknown" in done.stdout  # the types are not any
