"""Make the files of a release in dist/: ``make release``. Nothing is published or tagged.

The wheel with man pages, the source archive (with the build files of the images), the lock files, a
software bill of materials of each lock file in CycloneDX's format, the section of the changelog,
and checksums of all these. ``--tag`` also makes the tag of the version, on a clean checkout of a
version that the changelog has a section for.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import click

from deploy.setup.man_pages import write_man_pages
from deploy.setup.wheel_hook import MAN_PAGES

ROOT = Path(__file__).resolve().parents[2]
_LOCKS = ("api.lock", "worker.lock", "bare.lock")


@click.command()
@click.option("--tag", is_flag=True, help="Make the tag, too.")
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "dist", show_default="dist")
def main(*, tag: bool, out: Path) -> None:
    """Make the files of a release."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    changes = changelog_section((ROOT / "CHANGELOG.md").read_text(), version)
    if tag:
        _require_releasable(version, (ROOT / "CHANGELOG.md").read_text())
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    write_man_pages(ROOT / MAN_PAGES, version, time.strftime("%Y-%m-%d", time.gmtime()))
    try:
        _run(sys.executable, "-m", "hatchling", "build", "--directory", str(out))
    finally:
        shutil.rmtree(ROOT / MAN_PAGES)
    (out / "CHANGES.md").write_text(changes)
    for lock in _LOCKS:
        shutil.copyfile(ROOT / "requirements" / lock, out / lock)
        bill = str(out / f"sbom-{Path(lock).stem}.json")
        tool = str(Path(sys.executable).with_name("cyclonedx-py"))
        _run(
            tool,
            "requirements",
            str(out / lock),
            "--output-format",
            "JSON",
            "--output-reproducible",
            "--output-file",
            bill,
        )
    (out / "SHA256SUMS").write_text(checksums(out))
    if tag:
        _run("git", "tag", "--annotate", f"v{version}", "--file", str(out / "CHANGES.md"))
    for file in sorted(out.iterdir()):
        click.echo(f"{file.stat().st_size:>12,}  {file.name}")
    click.echo(f"version {version}; {'the tag is made' if tag else 'no tag: this was a dry run'}")


def changelog_section(changelog: str, version: str) -> str:
    """Return the text below the heading of this version, else that below ``[Unreleased]``."""
    for heading in (version, "Unreleased"):
        found = re.search(
            rf"(?ms)^## \[{re.escape(heading)}\][^\n]*\n(.*?)(?=^## \[|\Z)", changelog
        )
        if found:
            return found[1].strip() + "\n"
    raise click.ClickException("the changelog has no section for this version")


def checksums(folder: Path) -> str:
    """Return the SHA-256 of each file, as ``sha256sum --check`` reads them."""
    files = sorted(path for path in folder.iterdir() if path.name != "SHA256SUMS")
    sums = ((hashlib.sha256(path.read_bytes()).hexdigest(), path.name) for path in files)
    return "".join(f"{digest}  {name}\n" for digest, name in sums)


def _require_releasable(version: str, changelog: str) -> None:
    if f"## [{version}]" not in changelog:
        raise click.ClickException(f"CHANGELOG.md has no section [{version}]")
    if _run("git", "status", "--porcelain"):
        raise click.ClickException("the checkout has changes that are not committed")


def _run(*argv: str) -> str:
    done = subprocess.run(  # noqa: S603  # fixed commands
        argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


if __name__ == "__main__":
    main()
