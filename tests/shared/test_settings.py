"""Settings: typed, frozen, read in one place, and clear about what is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from shared.errors import SettingsInvalid
from shared.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away from a developer's .env."""
    monkeypatch.chdir(tmp_path)


def test_the_defaults_are_enough_to_start() -> None:
    settings = load_settings()
    assert settings.beat_s * 2 < settings.lease_s
    assert settings.redis_timeout_s <= 3
    assert settings.allow_private_addresses == "none"


def test_the_environment_sets_fields_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEMEND_LEASE_S", "7.5")
    monkeypatch.setenv("FACEMEND_ALLOW_PRIVATE_ADDRESSES", "true")
    monkeypatch.setenv("LEASE_S", "1")
    settings = load_settings()
    assert (settings.lease_s, settings.allow_private_addresses) == (7.5, "all")


@pytest.mark.parametrize(
    ("given", "allowed"),
    [("true", "all"), ("1", "all"), ("False", "none"), ("loopback", "loopback"), ("all", "all")],
)
def test_private_addresses_are_none_loopback_or_all_and_booleans_still_work(
    monkeypatch: pytest.MonkeyPatch, given: str, allowed: str
) -> None:
    monkeypatch.setenv("FACEMEND_ALLOW_PRIVATE_ADDRESSES", given)
    assert load_settings().allow_private_addresses == allowed


def test_a_file_sets_what_the_environment_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("FACEMEND_LEASE_S=7\nFACEMEND_BEAT_S=1\nOTHER=x\n")
    monkeypatch.setenv("FACEMEND_BEAT_S", "2")
    settings = load_settings()
    assert (settings.lease_s, settings.beat_s) == (7, 2)


@pytest.mark.parametrize("name", ["FACEMEND_API_PREFIX", "SCRIPT_NAME"])
def test_script_name_is_another_name_of_the_prefix(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "/photos")
    assert load_settings().api_prefix == "/photos"
    monkeypatch.setenv("FACEMEND_API_PREFIX", "/own")
    assert load_settings().api_prefix == "/own"
    assert load_settings(api_prefix="/given").api_prefix == "/given"


def test_overrides_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEMEND_LEASE_S", "7")
    assert load_settings(lease_s=9).lease_s == 9


@pytest.mark.parametrize(
    ("written", "read"),
    [("", ()), ("a", ("a",)), ("a,b", ("a", "b")), (" a , b ,", ("a", "b"))],
)
def test_lists_are_written_with_commas(
    monkeypatch: pytest.MonkeyPatch, written: str, read: tuple[str, ...]
) -> None:
    monkeypatch.setenv("FACEMEND_SERVED_MODELS", written)
    assert load_settings().served_models == read


def test_every_wrong_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEMEND_LEASE_S", "0")
    monkeypatch.setenv("FACEMEND_LOG_LEVEL", "loud")
    with pytest.raises(SettingsInvalid) as error:
        load_settings()
    assert "FACEMEND_LEASE_S: " in error.value.detail
    assert "FACEMEND_LOG_LEVEL: " in error.value.detail


def test_settings_do_not_change() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.lease_s = 1


def test_secrets_are_not_shown() -> None:
    settings = load_settings(
        redis_url="redis://:swordfish@h/0",
        s3_secret_access_key="swordfish",
        s3_access_key_id="swordfish",
        api_key_pepper="swordfish",
    )
    assert "swordfish" not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert settings.redis_url.get_secret_value() == "redis://:swordfish@h/0"


def test_every_setting_with_a_secret_name_has_a_secret_type() -> None:
    for name, field in Settings.model_fields.items():
        if re.search(r"secret|password|pepper|token|access_key|redis_url", name):
            assert field.annotation in {SecretStr, SecretStr | None}, name


def test_no_other_module_reads_the_environment() -> None:
    readers = {
        path.relative_to(ROOT).as_posix()
        for part in ("api", "shared", "worker")
        for path in (ROOT / part).rglob("*.py")
        if re.search(r"\bos\.(environ|getenv)|from os import.*\b(environ|getenv)", path.read_text())
    }
    assert readers == {
        "shared/process_control.py",  # gives it unchanged to the program that replaces it
        "worker/engine_process/spawn.py",  # gives it to a child, without our own variables
        "worker/engine/backends/no_telemetry.py",  # writes variables that a runtime reads
        "worker/training/distributed.py",  # torchrun tells each process its place in this way
    }


@pytest.mark.parametrize("name", ["input_ttl_s", "result_ttl_s"])
def test_photos_of_faces_are_never_kept_longer_than_thirty_days(name: str) -> None:
    assert getattr(load_settings(**{name: 30 * 86_400}), name) == 30 * 86_400
    with pytest.raises(SettingsInvalid, match=f"FACEMEND_{name.upper()}"):
        load_settings(**{name: 30 * 86_400 + 1})


@pytest.mark.parametrize("name", ["S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"])
def test_half_of_a_pair_of_s3_keys_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"FACEMEND_{name}", "something")
    with pytest.raises(SettingsInvalid, match="set both or none"):
        load_settings()


def test_pools_of_models_are_read_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEMEND_MODEL_POOLS", "big=h100+a10, small=cpu")
    assert load_settings(_env_file=None).model_pools == {"big": ("h100", "a10"), "small": ("cpu",)}


@pytest.mark.parametrize("wrong", ["big", "big=", "big=A", "big=a@b", "big=a+", "big=a,big=b"])
def test_wrong_pools_of_models_are_refused(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("FACEMEND_MODEL_POOLS", wrong)
    with pytest.raises(SettingsInvalid, match="FACEMEND_MODEL_POOLS"):
        load_settings(_env_file=None)
