"""``facemend watch`` as a person runs it: the engine here, the real API there."""

# ruff: noqa: F811  # fixtures of another folder

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.api.serving import Server
from tests.client.conftest import (  # noqa: F401  # fixtures
    PICTURE,
    Worker,
    api,
    api_key,
    worker,
    working,
)
from tests.waiting import eventually
from tests.worker.commands.conftest import BLANK, Facemend
from tests.worker.engine.photos import file_of
from worker.cli import main

ROOT = Path(__file__).resolve().parents[4]
QUICK = ("--settle", "0.2", "--every", "0.3")


def test_photos_are_restored_on_this_machine_and_bad_ones_are_moved(
    facemend: Facemend, folder: Path
) -> None:
    (folder / "in").mkdir()
    (folder / "in" / "a.png").write_bytes(file_of(BLANK, "png"))
    (folder / "in" / "bad.jpg").write_bytes(b"text")
    done = facemend("watch", "in", "out", "--once", *QUICK)
    assert done.exit_code == 1
    assert (folder / "out" / "a.png").exists()
    assert "unsupported-image" in (folder / "in" / "failed" / "bad.jpg.txt").read_text()
    again = facemend("watch", "in", "out", "--once", *QUICK)
    assert again.exit_code == 0
    assert "→" not in again.stdout


def test_photos_are_restored_by_a_service(
    api: Server, api_key: str, working: Worker, tmp_path: Path, grace_hopper: Path
) -> None:
    (tmp_path / "in").mkdir()
    shutil.copyfile(grace_hopper, tmp_path / "in" / "a.jpg")
    (tmp_path / "in" / "bad.jpg").write_bytes(b"text")
    words = ["watch", str(tmp_path / "in"), str(tmp_path / "out"), "--once", *QUICK]
    environment = {"FACEMEND_SERVER": api.url, "FACEMEND_API_KEY": api_key}
    done = CliRunner().invoke(main, words, env=environment, catch_exceptions=False)
    assert done.exit_code == 1, done.output
    assert (tmp_path / "out" / "a.jpg").read_bytes() == PICTURE
    assert (tmp_path / "in" / "failed" / "bad.jpg").exists()


def test_a_full_disk_is_named_and_nothing_is_moved(
    *,
    api: Server,
    api_key: str,
    working: Worker,
    tmp_path: Path,
    grace_hopper: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sync, calls = os.fsync, iter(range(9))

    def full_at_first(file: int) -> None:
        if next(calls) < 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(file)

    monkeypatch.setattr("os.fsync", full_at_first)
    (tmp_path / "in").mkdir()
    shutil.copyfile(grace_hopper, tmp_path / "in" / "a.jpg")
    words = ["watch", str(tmp_path / "in"), str(tmp_path / "out"), "--once", *QUICK]
    environment = {"FACEMEND_SERVER": api.url, "FACEMEND_API_KEY": api_key}
    done = CliRunner().invoke(main, words, env=environment, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert f"{tmp_path / 'out'}: No space left on device" in done.stdout.splitlines()
    assert (tmp_path / "out" / "a.jpg").read_bytes() == PICTURE


def test_sigterm_ends_it_and_a_second_one_on_the_same_folder_is_refused(
    tmp_path: Path, tiny_models: Path
) -> None:
    (tmp_path / "in").mkdir()
    environment = {
        **os.environ,
        "FACEMEND_MODELS_DIR": str(tiny_models),
        "FACEMEND_DEFAULT_MODEL": "tiny",
        "PYTHONPATH": str(ROOT),
    }
    argv = [sys.executable, "-m", "worker.cli", "watch", "in", "out", *QUICK]
    with subprocess.Popen(argv, cwd=tmp_path, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"watching in" in process.stdout.readline()
        second = subprocess.run(
            argv, cwd=tmp_path, env=environment, capture_output=True, check=False
        )
        assert second.returncode == 2
        assert b"another facemend watch writes to out" in second.stderr
        (tmp_path / "in" / "a.png").write_bytes(file_of(BLANK, "png"))
        eventually((tmp_path / "out" / "a.png").exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["in", "in"], "folder of their own"),
        (["in", "out", "--server", "http://127.0.0.1:9"], "needs --api-key"),
        (["none", "out"], "does not exist"),
    ],
)
def test_mistakes_end_it_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["watch", *words], catch_exceptions=False)
    assert done.exit_code == 2
    assert message in done.stderr


def test_the_lock_is_free_after_the_end(facemend: Facemend, folder: Path) -> None:
    (folder / "in").mkdir()
    facemend("watch", "in", "out", "--once", *QUICK)
    with (folder / "out" / ".facemend-watch.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
