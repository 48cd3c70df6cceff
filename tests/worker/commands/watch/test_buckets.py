"""``facemend watch`` on prefixes of a real SeaweedFS, by the engine and by the real API."""

# ruff: noqa: F811  # fixtures of another folder

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from facemend.folder.results import RECORD_NAME
from shared.jobs.job import Job, Status
from shared.jobs.store import JobStore
from shared.storage.bucket import ObjectStorage
from tests.api.serving import Server
from tests.client.conftest import (  # noqa: F401  # fixtures
    PICTURE,
    TENANT,
    Worker,
    api,
    api_key,
    worker,
    working,
)
from tests.conftest import ROOT
from tests.waiting import eventually
from tests.worker.commands.conftest import BLANK, Facemend
from tests.worker.engine.photos import file_of
from worker.cli import main

Watch = Callable[..., Result]
Jobs = Callable[[], list[Job]]
NO_KEYS = {"FACEMEND_S3_ACCESS_KEY_ID": "", "FACEMEND_S3_SECRET_ACCESS_KEY": ""}


@pytest.fixture
def environment(stack_settings: dict[str, Any], api: Server, api_key: str) -> dict[str, str]:
    """A service, and the settings of its storage."""
    names = ("s3_endpoint_url", "s3_access_key_id", "s3_secret_access_key")
    of_s3 = {f"FACEMEND_{name.upper()}": str(stack_settings[name]) for name in names}
    return {**of_s3, "FACEMEND_SERVER": api.url, "FACEMEND_API_KEY": api_key}


@pytest.fixture
def watch(environment: dict[str, str], seaweedfs: Any, storage: ObjectStorage) -> Watch:
    """Run ``facemend watch`` once; ``s3:`` stands for the bucket. It is empty at the start."""

    def watch(*words: str) -> Result:
        named = [re.sub("^s3:(?!//)", f"s3://{seaweedfs.bucket}/", word) for word in words]
        command = ["watch", *named, "--once"]
        return CliRunner().invoke(main, command, env=environment, catch_exceptions=False)

    return watch


@pytest.fixture
def jobs(store: JobStore) -> Jobs:
    return lambda: store.page(TENANT, status=None, model=None, limit=100, cursor=None)[0]


def keys(storage: ObjectStorage, prefix: str) -> list[str]:
    """The keys below a prefix, without the record."""
    found = [stored.key.removeprefix(prefix) for stored in storage.list(prefix)]
    return [name for name in found if not name.startswith(".")]


def test_objects_of_any_name_are_restored_once_for_each_etag(
    watch: Watch, storage: ObjectStorage, working: Worker, jobs: Jobs, grace_hopper: Path
) -> None:
    photo = grace_hopper.read_bytes()
    names = ["a.jpg", "1912/Élise & co #7?.jpg", "1912/a+b%20.JPG", "sub/ä/日本.jpg"]
    for name in (*names, "notes.txt", ".hidden.jpg", "1912/.part/a.jpg"):
        storage.put(f"in/{name}", photo, "image/jpeg")
    done = watch("s3:in", "s3:out", "-r")
    assert done.exit_code == 0, done.output
    assert keys(storage, "out/") == sorted(names)
    assert {storage.get(f"out/{name}", max_bytes=99) for name in names} == {PICTURE}
    assert sorted(keys(storage, "in/")) == sorted([*names, "1912/.part/a.jpg", "notes.txt"])
    assert watch("s3:in", "s3:out", "-r").exit_code == 0
    assert len(jobs()) == len(names)
    storage.put("in/a.jpg", photo + b"\0", "image/jpeg")
    again = watch("s3:in", "s3:out", "-r")
    assert [line for line in again.stdout.splitlines() if "→" in line] == [
        line for line in again.stdout.splitlines() if "in/a.jpg" in line
    ]
    assert len(jobs()) == len(names) + 1


def test_objects_below_the_prefix_are_left_out_unless_they_are_asked_for(
    watch: Watch, storage: ObjectStorage, working: Worker, tmp_path: Path, grace_hopper: Path
) -> None:
    for key in ("in/a.jpg", "in/deep/b.jpg", "into/c.jpg"):
        storage.put(key, grace_hopper.read_bytes(), "image/jpeg")
    assert watch("s3:in", str(tmp_path / "out")).exit_code == 0
    assert [path.name for path in tmp_path.glob("out/[!.]*")] == ["a.jpg"]
    assert (tmp_path / "out" / "a.jpg").read_bytes() == PICTURE


def test_a_thousand_keys_and_one_more_are_listed(
    watch: Watch, storage: ObjectStorage, working: Worker, jobs: Jobs, grace_hopper: Path
) -> None:
    for number in range(1000):
        storage.put(f"in/{number:04}.txt", b"-", "text/plain")
    storage.put("in/z.jpg", grace_hopper.read_bytes(), "image/jpeg")
    assert watch("s3:in", "s3:out").exit_code == 0
    assert keys(storage, "out/") == ["z.jpg"]


def test_what_failed_is_copied_with_its_reason_and_not_tried_again(
    watch: Watch, storage: ObjectStorage, working: Worker, jobs: Jobs
) -> None:
    storage.put("in/bad.jpg", b"text", "image/jpeg")
    for data in (b"text", b"text", b"other text"):
        storage.put("in/bad.jpg", data, "image/jpeg")
        watch("s3:in", "s3:out", "-r")
    copies = ["bad-2.jpg", "bad-2.jpg.txt", "bad.jpg", "bad.jpg.txt"]
    assert keys(storage, "in/failed/") == copies
    assert storage.get("in/failed/bad-2.jpg", max_bytes=99) == b"other text"
    assert b"unsupported-image" in storage.get("in/failed/bad.jpg.txt", max_bytes=999)
    assert "in/bad.jpg" in [stored.key for stored in storage.list("in/")]


def test_a_restart_in_the_middle_goes_on_with_the_same_jobs(
    *,
    environment: dict[str, str],
    seaweedfs: Any,
    storage: ObjectStorage,
    worker: Worker,
    watch: Watch,
    jobs: Jobs,
    grace_hopper: Path,
) -> None:
    """Of four photos, two have results when the process is killed, and two are with the service."""
    for number in range(4):
        storage.put(f"in/{number}.jpg", grace_hopper.read_bytes(), "image/jpeg")
    places = [f"s3://{seaweedfs.bucket}/{name}" for name in ("in", "out")]
    argv = [sys.executable, "-m", "worker.cli", "watch", *places, "--every", "0.2"]
    variables = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(argv, env=variables, stdout=subprocess.DEVNULL) as process:
        eventually(lambda: len(jobs()) == 4)
        for _ in range(2):
            worker.succeed(*worker.next())
        eventually(lambda: len(keys(storage, "out/")) == 2)
        eventually(lambda: _noted(storage) == 4)
        process.send_signal(signal.SIGKILL)
    for _ in range(2):
        worker.succeed(*worker.next())
    done = watch("s3:in", "s3:out")
    assert done.exit_code == 0, done.output
    assert keys(storage, "out/") == [f"{number}.jpg" for number in range(4)]
    assert done.stdout.count("→") == 2
    assert [job.status for job in jobs()] == [Status.SUCCEEDED] * 4
    storage.put("in/4.jpg", b"text", "image/jpeg")
    assert watch("s3:in", "s3:out").stdout.count("→") == 0
    record = storage.get(f"out/{RECORD_NAME}", max_bytes=99_999)
    assert {json.loads(line)["photo"] for line in record.splitlines()} == {
        f"{number}.jpg" for number in range(4)
    }


def _noted(storage: ObjectStorage) -> int:
    """How many photos have a result, or a job, by the record."""
    lines = [
        storage.get(stored.key, max_bytes=9_999) for stored in storage.list("out/.facemend-results")
    ]
    found = [json.loads(line) for line in lines]
    return sum(bool(one["results"] or one.get("sent", {}).get("job_id")) for one in found)


def test_a_folder_can_be_restored_into_a_bucket_on_this_machine(
    *,
    environment: dict[str, str],
    seaweedfs: Any,
    facemend: Facemend,
    folder: Path,
    storage: ObjectStorage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        if "_S3_" in name:
            monkeypatch.setenv(name, value)
    (folder / "in").mkdir()
    (folder / "in" / "a.png").write_bytes(file_of(BLANK, "png"))
    quick = ("--settle", "0.2", "--every", "0.3", "--once")
    done = facemend("watch", "in", f"s3://{seaweedfs.bucket}/out", *quick)
    assert done.exit_code == 0, done.output
    assert keys(storage, "out/") == ["a.png"]
    assert storage.head("out/a.png").content_type == "image/png"
    again = facemend("watch", "in", f"s3://{seaweedfs.bucket}/out", *quick)
    assert "→" not in again.stdout


@pytest.mark.parametrize(
    ("places", "change", "code", "message"),
    [
        (["s3://none/in", "out"], {}, 2, "has no bucket none: create it, or set FACEMEND_S3_"),
        (["s3://", "out"], {}, 2, "the name of the bucket is missing"),
        (["s3:in", "s3:"], {}, 2, "a prefix of their own"),
        (["s3:in", "s3:in"], {}, 2, "a prefix of their own"),
        (["s3:in", "out", "--failed", "aside"], {}, 2, "--failed must be of the kind of IN"),
        (["s3:in", "out", "--failed", "s3://b/x"], {}, 2, "--failed must be in the bucket of IN"),
        (["s3:in", "out"], {"FACEMEND_S3_ACCESS_KEY_ID": "foreign"}, 4, "InvalidAccessKeyId"),
        (["s3:in", "out"], {"FACEMEND_S3_ACCESS_KEY_ID": ""}, 2, "set both or none"),
        (["s3:in", "out"], NO_KEYS, 2, "needs credentials: set FACEMEND_S3_ACCESS_KEY_ID and"),
        (["s3:in", "out"], {"FACEMEND_S3_ENDPOINT_URL": "http://127.0.0.1:9"}, 4, "not respond"),
    ],
)
def test_a_place_that_cannot_be_used_ends_it_with_what_to_do(
    *,
    environment: dict[str, str],
    watch: Watch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    places: list[str],
    change: dict[str, str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    environment.update(change)
    done = watch(*places)
    assert done.exit_code == code, done.output
    assert message in done.stderr
