from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr
from redis import Redis

from deploy.embedded.saved_state import SavedState
from deploy.embedded.seaweedfs import SeaweedFS
from deploy.embedded.valkey import Valkey
from shared.settings import Settings
from shared.tenants.api_keys import KeyRing
from worker.cli import main

PEPPER = "pepper-of-the-stack"


def keys(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["keys", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default stack would be in ``home/facemend``; no setting names a service."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def running(home: Path, valkey: Valkey, seaweedfs: SeaweedFS, redis: Redis) -> Iterator[Path]:
    """The folder of a stack that runs: it has a state, and a process holds its lock."""
    folder = home / "facemend"
    folder.mkdir(mode=0o700)
    state = SavedState(
        redis_password=valkey.password,
        redis_port=valkey.port,
        api_key_pepper=PEPPER,
        api_port=8123,
        s3_ports=seaweedfs.ports,
    )
    state.write(folder / "stack.json")
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("process 7, http://127.0.0.1:8123")
        lock.flush()
        yield folder


def test_a_key_is_made_for_the_running_stack_and_the_command_says_which(
    running: Path, settings: Settings
) -> None:
    made = keys("create", "--tenant", "acme")
    assert made.exit_code == 0, made.stderr
    assert f"the stack in {running} (process 7, http://127.0.0.1:8123)" in made.stderr
    ring = KeyRing.connect(settings.model_copy(update={"api_key_pepper": SecretStr(PEPPER)}))
    assert ring.authenticate(made.stdout.strip()).tenant == "acme"


def test_settings_win_over_the_default_stack_and_the_option_wins_over_both(
    running: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEMEND_REDIS_URL", "redis://127.0.0.1:9/0")
    monkeypatch.setenv("FACEMEND_API_KEY_PEPPER", "another")
    assert keys("list").stderr.startswith("unavailable: ")
    assert keys("list", "--data", running).exit_code == 0


def test_the_servers_of_a_stopped_stack_run_for_the_command_only(home: Path) -> None:
    folder = home / "stopped"
    folder.mkdir(mode=0o700)
    SavedState(s3_ports={"s3": 1}).write(folder / "stack.json")
    made = keys("create", "--tenant", "acme", "--data", folder)
    assert made.exit_code == 0, made.stderr
    assert f"the stack in {folder} (stopped)" in made.stderr
    listed = keys("list", "--data", folder)
    assert "acme" in listed.stdout
    assert not (folder / "s3").exists()


def test_a_folder_without_a_stack_is_an_error(home: Path) -> None:
    result = keys("list", "--data", home / "nothing")
    assert result.exit_code > 0
    assert f"there is no stack in {home / 'nothing'}" in result.stderr
    assert not (home / "nothing").exists()
