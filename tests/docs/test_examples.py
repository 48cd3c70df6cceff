"""Each Python example of the documentation runs as it stands."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from facemend import Client
from shared.webhooks.signing import event_body, sign
from tests.api.serving import Server
from tests.client.conftest import PICTURE, Worker
from tests.docs.pages import DOCS, ROOT, blocks, example

SECRET = "whsec_" + "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
PAGES = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
#: Each is run by a test below.
RUN = {
    ("python-client.md", "ten lines"),
    ("python-client.md", "asyncio"),
    ("python-client.md", "flask"),
    ("python-client.md", "fastapi"),
    ("python-client.md", "celery"),
    ("uses/archive.md", "archive"),
    ("uses/website.md", "website"),
    ("uses/backend.md", "backend"),
}

Load = Callable[[str, str], dict[str, Any]]


@pytest.fixture
def load(
    api: Server, api_key: str, tmp_path: Path, photo_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Load]:
    """Run an example in a folder with ``photo.jpg``, and return its names."""
    monkeypatch.chdir(tmp_path)
    for name in ("photo.jpg", "a.jpg", "b.jpg"):
        shutil.copyfile(photo_file, tmp_path / name)
    for name, value in {"URL": api.url, "KEY": api_key, "SECRET": SECRET}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOOK", "http://127.0.0.1:8010/hook")
    loaded: list[dict[str, Any]] = []

    def load(page: str, name: str) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": "example"}
        exec(compile(example(page, name), f"{page}: {name}", "exec"), names)
        loaded.append(names)
        return names

    yield load
    for names in loaded:  # of a web server, they live as long as its process
        if isinstance(client := names.get("client"), Client):
            client.close()


@pytest.fixture
def photo_file(grace_hopper: Path) -> Path:
    return grace_hopper


def test_each_python_example_is_run() -> None:
    found = {
        (page, name)
        for page in PAGES
        for code in blocks(page, "python")
        for name in re.findall(r"\A# example: (.*)", code)
    }
    assert found == RUN


def test_ten_lines_restore_a_photo(
    load: Load, working: Worker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load("python-client.md", "ten lines")
    assert (tmp_path / "restored.png").read_bytes() == PICTURE
    assert capsys.readouterr().out == "0 restored \n"
    lines = example("python-client.md", "ten lines").splitlines()[1:]
    assert len([line for line in lines if line]) <= 10


def test_asyncio_restores_two_photos(load: Load, working: Worker, tmp_path: Path) -> None:
    load("python-client.md", "asyncio")
    for number in (0, 1):
        assert (tmp_path / f"restored-{number}.png").read_bytes() == PICTURE


def message() -> tuple[bytes, dict[str, str]]:
    job = json.loads((Path(__file__).parent / "job.json").read_text())
    body = event_body("restoration.succeeded", time.time(), job)
    return body, sign([SECRET], "evt_1", int(time.time()), body)


def test_the_receiver_in_flask_accepts_what_is_signed_and_nothing_else(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    client = load("python-client.md", "flask")["app"].test_client()
    body, headers = message()
    for _ in range(2):
        assert client.post("/hook", data=body, headers=headers).status_code == 204
    assert capsys.readouterr().out.count("restoration.succeeded job_") == 1
    assert client.post("/hook", data=body + b" ", headers=headers).status_code == 400


def test_the_receiver_in_fastapi_accepts_what_is_signed_and_nothing_else(load: Load) -> None:
    app = load("python-client.md", "fastapi")["app"]
    body, headers = message()

    async def statuses() -> list[int]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            sent = [body, b"{}"]
            answers = [await client.post("/hook", content=one, headers=headers) for one in sent]
        return [answer.status_code for answer in answers]

    assert asyncio.run(statuses()) == [204, 400]


def test_the_celery_task_makes_one_job_however_often_it_runs(
    load: Load, working: Worker, tmp_path: Path
) -> None:
    task = load("python-client.md", "celery")["restore_photo"]
    source, target = str(tmp_path / "photo.jpg"), tmp_path / "out.png"
    for _ in range(2):
        done = task.apply(args=[7, source, str(target)]).get()
        assert done == {"photo": 7, "faces": 1}
    assert target.read_bytes() == PICTURE
    assert len(working.store.page("acme", limit=10)[0]) == 1
    (tmp_path / "photo.jpg").write_bytes(b"text")
    failed = task.apply(args=[8, source, str(target)]).get()
    assert failed == {"photo": 8, "failed": "unsupported-image"}


def test_the_archive_is_restored_and_failures_are_told(
    load: Load, working: Worker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scans" / "1912").mkdir(parents=True)
    shutil.copyfile(tmp_path / "photo.jpg", tmp_path / "scans" / "1912" / "a.jpg")
    (tmp_path / "scans" / "bad.jpg").write_bytes(b"text")
    load("uses/archive.md", "archive")
    assert (tmp_path / "mended" / "1912" / "a.jpg").read_bytes() == PICTURE
    assert "scans/bad.jpg unsupported-image" in capsys.readouterr().out


def test_the_website_submits_and_shows(load: Load, working: Worker, tmp_path: Path) -> None:
    site = load("uses/website.md", "website")["app"].test_client()
    with (tmp_path / "photo.jpg").open("rb") as photo:
        answer = site.post("/photos", data={"photo": (photo, "photo.jpg")})
    assert answer.status_code == 202
    shown = site.get(f"/photos/{answer.json['id']}").json
    assert shown["status"] == "succeeded"
    assert shown["url"].startswith("http")
    (tmp_path / "bad.jpg").write_bytes(b"text")
    with (tmp_path / "bad.jpg").open("rb") as photo:
        refused = site.post("/photos", data={"photo": (photo, "bad.jpg")})
    assert (refused.status_code, refused.json["code"]) == (422, "unsupported-image")


def test_the_backend_submits_once_and_reconciles(load: Load, working: Worker) -> None:
    names = load("uses/backend.md", "backend")
    job_id = names["submit_photo"](7, "photo.jpg")
    assert names["submit_photo"](7, "photo.jpg") == job_id
    names["client"].wait(job_id)
    assert names["reconcile"](job_id) == "succeeded"
    names["client"].erase(job_id)
    assert names["reconcile"](job_id) == "expired"


def test_the_workflow_for_n8n_hangs_together() -> None:
    """Nodes have what n8n needs to import them, and connections lead from node to node."""
    flow = json.loads((DOCS / "examples" / "n8n-restore-photo.json").read_text())
    nodes = {node["name"]: node for node in flow["nodes"]}
    assert len(nodes) == len(flow["nodes"])
    assert len({node["id"] for node in flow["nodes"]}) == len(nodes)
    for node in flow["nodes"]:
        assert {"id", "name", "type", "typeVersion", "position", "parameters"} <= node.keys()
        assert re.fullmatch(r"n8n-nodes-base\.\w+", node["type"])
    targets = set()
    for source, outputs in flow["connections"].items():
        assert source in nodes
        for output in outputs["main"]:
            for connection in output:
                assert (connection["type"], connection["index"]) == ("main", 0)
                targets.add(connection["node"])
    assert targets == nodes.keys() - {"Photo arrives"}
    parts = nodes["Submit and wait"]["parameters"]["bodyParameters"]["parameters"]
    assert [part["name"] for part in parts] == ["image", "request"]
    json.loads(parts[1]["value"])


def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(
    tmp_path: Path,
) -> None:
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in tmp_path.rglob("*.html"):
        text = page.read_text()
        assert re.findall(r'(?:src|<link [^>]*href)="https?://[^"]+"', text) == [], page
