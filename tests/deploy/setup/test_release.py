from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from deploy.setup.release import ROOT, changelog_section, checksums, main

CHANGES = "# Changelog\n\n## [Unreleased]\n\n- new\n\n## [1.0.0] - 2026-12-01\n\n- first\n"


def test_the_notes_of_a_release_are_its_section_of_the_changelog() -> None:
    assert changelog_section(CHANGES, "1.0.0") == "- first\n"


def test_before_a_release_the_notes_are_what_is_unreleased() -> None:
    assert changelog_section(CHANGES, "1.1.0") == "- new\n"


def test_a_changelog_without_a_section_is_refused() -> None:
    with pytest.raises(click.ClickException, match="no section"):
        changelog_section("# Changelog\n", "1.0.0")


def test_checksums_are_those_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"wheel")
    (tmp_path / "SHA256SUMS").write_text("old")
    assert checksums(tmp_path) == f"{hashlib.sha256(b'wheel').hexdigest()}  a.whl\n"


def test_a_version_that_the_changelog_does_not_have_gets_no_tag(tmp_path: Path) -> None:
    version_is_open = "## [1.0.0rc1]" not in (ROOT / "CHANGELOG.md").read_text()
    if not version_is_open:
        pytest.skip("this version is released")
    done = CliRunner().invoke(main, ["--tag", "--out", str(tmp_path / "dist")])
    assert done.exit_code == 1
    assert "has no section" in done.output


def test_a_dry_run_makes_all_files(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["--out", str(tmp_path)], catch_exceptions=False)
    assert done.exit_code == 0
    assert "no tag: this was a dry run" in done.output
    names = {path.name for path in tmp_path.iterdir()}
    assert {"CHANGES.md", "SHA256SUMS", "api.lock", "worker.lock", "bare.lock"} <= names
    assert {path.suffix for path in tmp_path.glob("facemend-*")} == {".whl", ".gz"}
    (wheel,) = tmp_path.glob("*.whl")
    pages = [name for name in zipfile.ZipFile(wheel).namelist() if "/share/man/man1/" in name]
    assert {"facemend.1", "facemend-restore.1"} <= {name.rpartition("/")[2] for name in pages}
    bill = json.loads((tmp_path / "sbom-api.json").read_text())
    assert "flask" in {part["name"] for part in bill["components"]}
