"""``facemend models promote``: a worse model is refused, a better one takes the old one's place."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from deploy.embedded.valkey import Valkey
from shared.jobs.store import JobStore
from tests.waiting import eventually
from tests.worker.engine.small_models import save_model
from tests.worker.scripted import SERVED
from worker.cli import main
from worker.weights.verification import file_sha256

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three models: ``same`` and ``twin`` return their input, ``noise`` returns anything."""
    monkeypatch.setenv("FACEMEND_MODELS_DIR", str(tmp_path))
    monkeypatch.setenv("FACEMEND_DEVICE", "cpu")
    monkeypatch.setenv("FACEMEND_PRECISION", "fp32")
    monkeypatch.setenv("FACEMEND_REDIS_URL", "redis://127.0.0.1:1/0")
    save_model(tmp_path, "same", unchanging=True)
    save_model(tmp_path, "twin", unchanging=True, note="another file")
    save_model(tmp_path, "noise")
    (tmp_path / "photos").mkdir()
    for seed in range(2):
        coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "photos" / f"{seed}.png"), cv2.resize(coarse, (128, 128)))
    return tmp_path


def promote(folder: Path, *words: str) -> Result:
    arguments = ["models", "promote", *words]
    if "--roll-back" not in words:
        arguments += ["--photos", str(folder / "photos")]
    return CliRunner().invoke(main, arguments)


def bytes_of(folder: Path, name: str) -> bytes:
    return (folder / f"{name}.safetensors").read_bytes()


def test_a_model_that_is_worse_is_refused_and_nothing_changes(folder: Path) -> None:
    before = bytes_of(folder, "same")
    result = promote(folder, "noise", "--over", "same", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["promote"] is False
    assert "noise is worse than same" in result.stderr
    assert bytes_of(folder, "same") == before


def test_a_model_that_is_as_good_takes_the_place_and_can_be_taken_back(folder: Path) -> None:
    before = bytes_of(folder, "same")
    assert promote(folder, "twin", "--over", "same", "--dry-run").exit_code == 0
    assert bytes_of(folder, "same") == before
    result = promote(folder, "twin", "--over", "same")
    assert result.exit_code == 0, result.output
    assert bytes_of(folder, "same") == bytes_of(folder, "twin")
    assert promote(folder, "twin", "--over", "same", "--roll-back").exit_code == 0
    assert bytes_of(folder, "same") == before


def test_what_cannot_be_promoted_is_said(folder: Path) -> None:
    result = promote(folder, "twin", "--over", "same", "--roll-back")
    assert result.exit_code == 3
    assert "was never replaced" in result.stderr
    result = promote(folder, "twin", "--over", "facemend-starter", "--roll-back")
    assert "of the catalogue" in result.stderr
    result = promote(folder, "nobody", "--over", "same")
    assert result.exit_code == 3
    assert "no model 'nobody'" in result.stderr
    result = CliRunner().invoke(main, ["models", "promote", "twin", "--over", "same"])
    assert result.exit_code == 2
    assert "--photos" in result.stderr


def test_a_damaged_file_can_be_taken_back(folder: Path) -> None:
    before = bytes_of(folder, "same")
    (folder / "same.before.safetensors").write_bytes(before)
    (folder / "same.safetensors").write_bytes(b"damaged")
    result = promote(folder, "twin", "--over", "same", "--roll-back")
    assert result.exit_code == 0, result.output
    assert bytes_of(folder, "same") == before


def test_an_added_model_keeps_the_file_of_its_hash(folder: Path) -> None:
    entry = {
        "file": "added.onnx",
        "licence": "Apache-2.0",
        "sha256": "0" * 64,
        "bytes": 1,
        "template": "ffhq",
        "in_px": 128,
        "out_px": 128,
        "format": "onnx",
        "value_range": "-1..1",
        "channels": "rgb",
        "good_at": "",
    }
    (folder / "added.json").write_text(json.dumps(entry))
    result = promote(folder, "twin", "--over", "added", "--roll-back")
    assert result.exit_code == 3
    assert "was added with its hash" in result.stderr


# --- with live workers ----------------------------------------------------------------------


@pytest.fixture
def announce(
    folder: Path, store: JobStore, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """Announce a worker with the file that the model ``same`` has now."""
    monkeypatch.setenv("FACEMEND_REDIS_URL", valkey.url)

    def announce(worker: str) -> None:
        served = dataclasses.replace(
            SERVED, name="same", sha256=file_sha256(folder / "same.safetensors")
        )
        other = dataclasses.replace(SERVED, name="other")
        store.workers.announce(worker, [other, served])

    return announce


def test_without_wait_it_says_how_many_workers_serve_the_file_and_does_not_wait(
    folder: Path, store: JobStore, announce: Callable[[str], None]
) -> None:
    announce("gpu-1-7")
    (worker,) = store.workers.live()
    measured = threading.Event()

    def announce_the_old_one() -> None:
        while not measured.wait(1):
            store.workers.announce(worker.name, worker.models)

    thread = threading.Thread(target=announce_the_old_one)
    thread.start()
    result = promote(folder, "twin", "--over", "same")
    measured.set()
    thread.join()
    assert result.exit_code == 0, result.output
    assert "0 of 1 workers serve it" in result.stderr
    assert "--wait" in result.stderr


def test_it_waits_until_all_workers_serve_the_file(
    folder: Path, announce: Callable[[str], None]
) -> None:
    shutil.copy(folder / "twin.safetensors", folder / "same.before.safetensors")
    for worker in ("gpu-1-7", "gpu-2-7"):
        announce(worker)

    def change_over() -> None:
        eventually((folder / "same.before.safetensors").exists, 1)
        eventually(lambda: bytes_of(folder, "same") == bytes_of(folder, "twin"))
        for worker in ("gpu-1-7", "gpu-2-7"):
            time.sleep(1.5)
            announce(worker)

    thread = threading.Thread(target=change_over)
    thread.start()
    result = promote(folder, "twin", "--over", "same", "--roll-back", "--wait", "30")
    thread.join()
    assert result.exit_code == 0, result.output
    said = [line for line in result.stderr.splitlines() if "workers serve it" in line]
    assert [line[:6] for line in said] == ["0 of 2", "1 of 2", "2 of 2"]


def test_workers_that_do_not_serve_the_file_in_time_are_named(
    folder: Path, announce: Callable[[str], None], store: JobStore
) -> None:
    shutil.copy(folder / "twin.safetensors", folder / "same.before.safetensors")
    announce("gpu-1-7")
    store.workers.announce("cpu-1-7", [SERVED])
    result = promote(folder, "twin", "--over", "same", "--roll-back", "--wait", "2")
    assert result.exit_code == 4
    assert "not after 2 s: gpu-1-7; their logs say why" in result.stderr
    assert bytes_of(folder, "same") == bytes_of(folder, "twin")


@pytest.mark.parametrize(("wait", "code"), [((), 0), (("--wait", "2"), 4)])
def test_without_redis_only_the_wait_fails(folder: Path, wait: tuple[str, ...], code: int) -> None:
    shutil.copy(folder / "twin.safetensors", folder / "same.before.safetensors")
    result = promote(folder, "twin", "--over", "same", "--roll-back", *wait)
    assert result.exit_code == code, result.output
    assert bytes_of(folder, "same") == bytes_of(folder, "twin")
