"""``facemend verify``, and the manifests of ``facemend restore``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from shared.provenance.signing_keys import PublicKeys, SigningKey, new_signing_key
from shared.provenance.statement import write_manifest
from shared.settings import Settings
from tests.shared.provenance.test_statement import making
from worker.cli import main

SECRET = new_signing_key()
KEY = SigningKey.of(Settings(_env_file=None, provenance_key=SECRET))
assert KEY is not None


@pytest.fixture(autouse=True)
def _no_stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def keys(tmp_path: Path) -> str:
    assert KEY is not None
    path = tmp_path / "keys.json"
    path.write_text(json.dumps(PublicKeys([KEY.public]).as_jwks()))
    return str(path)


def verify(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["verify", *arguments])


def signed(tmp_path: Path, result: bytes) -> tuple[str, str]:
    """Write a result and its manifest; return both paths."""
    import hashlib

    assert KEY is not None
    picture, manifest = tmp_path / "result.png", tmp_path / "manifest.json"
    picture.write_bytes(result)
    made = making(sha256=hashlib.sha256(result).hexdigest())
    manifest.write_bytes(write_manifest(made, KEY, "0.1"))
    return str(picture), str(manifest)


def test_a_result_is_verified_with_the_published_keys(tmp_path: Path, keys: str) -> None:
    done = verify(*signed(tmp_path, b"picture"), "--keys", keys)
    assert done.exit_code == 0, done.output
    assert "verified" in done.output
    assert "1 of 1 restored" in done.output
    assert "compositeWithTrainedAlgorithmicMedia" in done.output


def test_a_result_is_verified_with_the_key_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEMEND_PROVENANCE_KEY", SECRET)
    done = verify(*signed(tmp_path, b"picture"), "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["job_id"] == "job_1"


def test_a_changed_result_is_not_verified(tmp_path: Path, keys: str) -> None:
    picture, manifest = signed(tmp_path, b"picture")
    Path(picture).write_bytes(b"pictur3")
    done = verify(picture, manifest, "--keys", keys)
    assert done.exit_code == 1
    assert "not verified" in done.output


def test_another_photo_is_not_the_one_that_was_restored(tmp_path: Path, keys: str) -> None:
    other = tmp_path / "other.jpg"
    other.write_bytes(b"another photo")
    arguments = signed(tmp_path, b"picture")
    done = verify(*arguments, "--keys", keys, "--input", str(other))
    assert done.exit_code == 1
    assert "not the photo that was restored" in done.output


@pytest.mark.parametrize("content", ["", "{}", "[]", "no json"])
def test_a_file_without_keys_is_a_wrong_argument(tmp_path: Path, content: str) -> None:
    (tmp_path / "bad.json").write_text(content)
    done = verify(*signed(tmp_path, b"picture"), "--keys", str(tmp_path / "bad.json"))
    assert done.exit_code == 2
    assert "keys" in done.output


def test_without_any_key_the_command_says_what_to_give(tmp_path: Path) -> None:
    done = verify(*signed(tmp_path, b"picture"))
    assert done.exit_code == 2
    assert "--keys" in done.output


def test_a_photo_is_no_manifest(tmp_path: Path, keys: str) -> None:
    picture, _ = signed(tmp_path, b"picture")
    done = verify(picture, picture, "--keys", keys)
    assert done.exit_code == 1
    assert "no provenance manifest" in done.output


def test_restore_writes_a_manifest_that_verify_accepts(
    tmp_path: Path, astronaut: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEMEND_PROVENANCE_KEY", SECRET)
    result = tmp_path / "out.png"
    arguments = ["restore", str(astronaut), "-o", str(result), "--restore-sharp", "--manifest"]
    done = CliRunner().invoke(main, [*arguments, "--backend", "torch"])
    assert done.exit_code == 0, done.output
    manifest = tmp_path / "out.png.manifest.json"
    checked = verify(str(result), str(manifest), "--input", str(astronaut))
    assert checked.exit_code == 0, checked.output
    assert "in part" in checked.output


def test_restore_without_a_key_to_sign_with_says_how_to_make_one(astronaut: Path) -> None:
    done = CliRunner().invoke(main, ["restore", str(astronaut), "--manifest"])
    assert done.exit_code == 2
    assert "openssl rand" in done.output
