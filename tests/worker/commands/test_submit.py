"""``facemend submit`` against the real API."""

# ruff: noqa: F811  # fixtures of another folder

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.api.serving import Server
from tests.client.conftest import (  # noqa: F401  # fixtures
    PICTURE,
    Worker,
    api,
    api_key,
    jobs,
    photo,
    worker,
    working,
)
from worker.cli import main


@pytest.fixture
def album(tmp_path: Path, grace_hopper: Path) -> Path:
    (tmp_path / "album").mkdir()
    for name in ("a.jpg", "b.jpg"):
        shutil.copyfile(grace_hopper, tmp_path / "album" / name)
    return tmp_path / "album"


def submit(folder: Path, *words: str, server: str, key: str) -> Result:
    environment = {"FACEMEND_SERVER": server, "FACEMEND_API_KEY": key}
    return CliRunner().invoke(
        main, ["submit", str(folder), *words], env=environment, catch_exceptions=False
    )


def test_a_folder_is_restored_and_a_second_run_has_nothing_to_do(
    api: Server,
    api_key: str,
    working: Worker,
    album: Path,
) -> None:
    done = submit(album, "--strength", "0.8", server=api.url, key=api_key)
    assert done.exit_code == 0, done.output
    assert "2 restored, 0 unchanged, 0 skipped, 0 failed" in done.stdout
    assert (album.parent / "output_album" / "a.jpg").read_bytes() == PICTURE
    again = submit(album, "--strength", "0.8", server=api.url, key=api_key)
    assert "2 skipped, 0 failed (skipped: 2 done before)" in again.stdout
    assert "--no-resume" in again.stdout


def test_json_tells_what_became_of_each_photo(
    api: Server,
    api_key: str,
    working: Worker,
    album: Path,
) -> None:
    (album / "c.jpg").write_bytes(b"text")
    done = submit(album, "--json", server=api.url, key=api_key)
    assert done.exit_code == 1
    told = {Path(one["photo"]).name: one for one in json.loads(done.stdout)}
    assert told["a.jpg"]["status"] == "restored"
    assert told["a.jpg"]["faces"][0]["status"] == "restored"
    assert (told["c.jpg"]["status"], told["c.jpg"]["code"]) == ("failed", "unsupported-image")


@pytest.mark.parametrize(
    ("server", "key", "code"),
    [
        (None, "fm_live_wrong", 2),
        ("facemend.example", "fm_live_x", 2),
        ("http://127.0.0.1:9", "fm_live_x", 4),
    ],
)
def test_errors_have_exit_codes(
    request: pytest.FixtureRequest, album: Path, server: str | None, key: str, code: int
) -> None:
    api, monkeypatch = request.getfixturevalue("api"), request.getfixturevalue("monkeypatch")
    monkeypatch.setattr("worker.commands.submit._PATIENCE_S", 0.2)
    done = submit(album, server=server or api.url, key=key)
    assert done.exit_code == code, done.output
    assert len(done.stderr.splitlines()) == 1
