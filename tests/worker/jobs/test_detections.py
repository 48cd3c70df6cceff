"""From a detection to a restoration of chosen faces: real API, records, storage and detector."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image
from redis import Redis
from werkzeug.test import TestResponse

from api import Services, create_app
from shared.jobs.job import Kind, Status
from shared.jobs.store import JobStore
from shared.manifests.manifests import Manifests
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from tests.api.conftest import CheckedClient
from tests.jobs import TENANT
from tests.worker.engine.conftest import CPU, Mapped, white
from tests.worker.scripted import InProcessEngine
from worker.engine import ModelInfo, Restorer
from worker.engine.backends.torch_backend import TorchBackend
from worker.engine.load import load_detector
from worker.jobs.runner import JobRunner
from worker.notifier.rebuilder import Rebuilder

MODEL = "facemend-starter"


@pytest.fixture(scope="module")
def real_restorer() -> Iterator[Restorer]:
    """The real detector, and a network that makes faces white."""
    network = TorchBackend(Mapped(white), CPU, "fp32")  # type: ignore[arg-type]
    info = ModelInfo(MODEL, "0" * 64, 128, "own", "ffhq", "fp32", "torch", detector="retinaface")
    restorer = Restorer(
        network, load_detector(Path("none"), CPU), info, max_batch=4, max_batch_wait_ms=1
    )
    yield restorer
    restorer.close()


@pytest.fixture
def engine(real_restorer: Restorer) -> InProcessEngine:
    return InProcessEngine({MODEL: real_restorer})


@pytest.fixture
def client(settings: Settings, redis: Redis, storage: ObjectStorage) -> FlaskClient:
    services = Services.build(settings, redis, storage)
    _, secret = services.keys.create(TENANT, "key")
    app = create_app(services)
    app.test_client_class = CheckedClient
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
    return client


@pytest.fixture
def group_photo(astronaut: Path) -> bytes:
    """Five faces in a row, each smaller than the one before it."""
    with Image.open(astronaut) as image:
        head = image.convert("RGB").crop((100, 0, 400, 260))
    canvas = Image.new("RGB", (1100, 280), (127, 127, 127))
    left = 0
    for width in (300, 260, 220, 180, 140):
        canvas.paste(head.resize((width, width * 260 // 300)), (left, 10))
        left += width
    return png_of(np.asarray(canvas))


def png_of(pixels: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def upload(client: FlaskClient, path: str, photo: bytes, request: object = None) -> TestResponse:
    parts: dict[str, Any] = {"image": (io.BytesIO(photo), "photo.png", "image/png")}
    if request is not None:
        parts["request"] = json.dumps(request)
    return client.post(path, data=parts)


def run(worker: JobRunner, client: FlaskClient, response: TestResponse) -> dict[str, Any]:
    """Have the accepted job run; return what its path shows then."""
    assert response.status_code == 202, response.data
    worker.restore(response.get_json()["id"])
    shown: dict[str, Any] = client.get(response.headers["Location"]).get_json()
    return shown


def choose(detection: dict[str, Any], *indexes: int) -> dict[str, Any]:
    faces = {"detection_id": detection["id"], "indexes": list(indexes)}
    return {"options": {"faces": faces, "skip_sharp": False}, "output": {"format": "png"}}


def changed_faces(before: bytes, after: bytes, faces: list[dict[str, Any]]) -> list[int]:
    """Return the indexes of the faces whose middle is another one."""
    old, new = (np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in (before, after))

    def middle(pixels: Any, face: dict[str, Any]) -> Any:
        x, y = (round(value) for value in face["landmarks"][2])
        return pixels[y - 2 : y + 3, x - 2 : x + 3]

    return [f["index"] for f in faces if (middle(old, f) != middle(new, f)).any()]


def restored_bytes(storage: ObjectStorage, job: dict[str, Any]) -> bytes:
    return storage.get(job["result"]["image"]["key"], max_bytes=10**8)


def test_faces_are_detected_chosen_and_restored(
    worker: JobRunner, client: FlaskClient, storage: ObjectStorage, group_photo: bytes
) -> None:
    detection = run(worker, client, upload(client, "/v1/detections", group_photo))
    assert (detection["object"], detection["status"]) == ("detection", "succeeded")
    faces = detection["result"]["faces"]
    assert [face["index"] for face in faces] == [0, 1, 2, 3, 4]
    assert [face["size"] for face in faces] == sorted((f["size"] for f in faces), reverse=True)
    job = run(
        worker, client, upload(client, "/v1/restorations", group_photo, choose(detection, 1, 3))
    )
    assert [f["index"] for f in job["result"]["faces"] if f["status"] == "restored"] == [1, 3]
    assert changed_faces(group_photo, restored_bytes(storage, job), faces) == [1, 3]
    for field in ("box", "landmarks", "score"):
        assert [f[field] for f in job["result"]["faces"]] == [f[field] for f in faces]


def test_all_faces_of_a_photo_of_29_are_found_again(
    worker: JobRunner, client: FlaskClient, storage: ObjectStorage, faces_dir: Path
) -> None:
    photo = (faces_dir / "solvay-1927.png").read_bytes()
    detection = run(worker, client, upload(client, "/v1/detections", photo))
    faces = detection["result"]["faces"]
    assert len(faces) == 29
    job = run(
        worker, client, upload(client, "/v1/restorations", photo, choose(detection, 2, 11, 28))
    )
    assert [f["box"] for f in job["result"]["faces"]] == [f["box"] for f in faces]
    assert changed_faces(photo, restored_bytes(storage, job), faces) == [2, 11, 28]


def test_each_face_has_a_preview_in_the_storage(
    worker: JobRunner, client: FlaskClient, storage: ObjectStorage, group_photo: bytes
) -> None:
    detection = run(worker, client, upload(client, "/v1/detections", group_photo))
    stored = [each.key for each in storage.list(f"tenants/{TENANT}/results/{detection['id']}/")]
    assert len([key for key in stored if key.endswith(".jpeg")]) == 5
    for face in detection["result"]["faces"]:
        name = face["preview"]["url"].partition("?")[0].rpartition("/")[2]
        (key,) = [key for key in stored if key.endswith(f"/{name}")]
        shown = Image.open(io.BytesIO(storage.get(key, max_bytes=10**6)))
        assert shown.size == (face["preview"]["width"], face["preview"]["height"])


def test_a_restoration_of_another_photo_at_the_same_key_fails(
    worker: JobRunner, client: FlaskClient, storage: ObjectStorage, group_photo: bytes
) -> None:
    key = f"tenants/{TENANT}/files/a.png"
    storage.put(key, group_photo, "image/png")
    detection = run(worker, client, client.post("/v1/detections", json={"input": {"key": "a.png"}}))
    storage.put(key, png_of(np.zeros((64, 64, 3), np.uint8)), "image/png")
    request = {"input": {"key": "a.png"}, **choose(detection, 0)}
    job = run(worker, client, client.post("/v1/restorations", json=request))
    assert (job["status"], job["error"]["code"]) == ("failed", "input-changed")


def test_a_restoration_needs_the_detection_only_when_it_is_submitted(
    worker: JobRunner, client: FlaskClient, group_photo: bytes
) -> None:
    detection = run(worker, client, upload(client, "/v1/detections", group_photo))
    accepted = upload(client, "/v1/restorations", group_photo, choose(detection, 4))
    assert client.delete(f"/v1/detections/{detection['id']}").status_code == 204
    job = run(worker, client, accepted)
    assert [f["index"] for f in job["result"]["faces"] if f["status"] == "restored"] == [4]


def test_a_detection_survives_the_loss_of_redis(
    worker: JobRunner, client: FlaskClient, store: JobStore, redis: Redis, group_photo: bytes
) -> None:
    storage = worker.pipeline.storage
    response = upload(client, "/v1/detections", group_photo)
    detection_id = response.get_json()["id"]
    before = store.get(TENANT, detection_id)
    redis.flushdb()
    (ref,) = Manifests(storage).all()
    Rebuilder(store, storage).restore(ref)
    after = store.get(TENANT, detection_id)
    assert (after.kind, after.status) == (Kind.DETECTION, Status.QUEUED)
    assert (after.request, after.source) == (before.request, before.source)
    worker.restore(detection_id)
    result = store.get(TENANT, detection_id).result
    assert result is not None
    assert len(result["faces"]) == 5


@pytest.mark.parametrize("kind", ["text", "cut"])
def test_a_detection_of_a_broken_photo_fails_with_the_reason(
    worker: JobRunner, client: FlaskClient, storage: ObjectStorage, group_photo: bytes, kind: str
) -> None:
    data = b"just words" if kind == "text" else group_photo[:2000]
    storage.put(f"tenants/{TENANT}/files/b.png", data, "image/png")
    detection = run(worker, client, client.post("/v1/detections", json={"input": {"key": "b.png"}}))
    assert detection["status"] == "failed"
    assert detection["error"]["code"] in {"unsupported-image", "corrupt-image"}


def test_a_detection_counts_no_restored_faces(
    worker: JobRunner, client: FlaskClient, group_photo: bytes
) -> None:
    run(worker, client, upload(client, "/v1/detections", group_photo))
    assert client.get("/v1/usage").get_json()["faces_restored"] == 0
