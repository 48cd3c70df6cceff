"""/v1/detections, and restorations that name the faces of a detection."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import TestResponse

from shared.jobs.job import Status
from shared.jobs.record import Outcome
from shared.jobs.store import JobStore
from shared.storage.bucket import ObjectStorage
from shared.storage.keys import result_key
from shared.tenants.api_keys import ALL_SCOPES
from tests.api.conftest import Authorised, Enrol

Problem = Callable[[TestResponse], tuple[int, str]]


def upload(
    client: Authorised, photo: bytes, path: str = "/v1/detections", **parts: Any
) -> TestResponse:
    image = (io.BytesIO(photo), "photo.jpg", "image/jpeg")
    return client.post(path, data={"image": image, **parts})


@pytest.fixture
def detected(
    client: Authorised, store: JobStore, storage: ObjectStorage, photo: bytes
) -> Callable[..., str]:
    """Upload a photo and do the work of a worker; return the id of the detection."""

    def detected(outcome: Outcome | None = None) -> str:
        accepted = upload(client, photo).get_json()
        claim = store.runs.claim(accepted["id"], "worker-1")
        assert claim is not None
        key = result_key("acme", accepted["id"], claim.token, "face-0.jpeg")
        storage.put(key, b"picture", "image/jpeg")
        faces = [
            {
                "index": index,
                "box": [1.0 + index, 2.0, 30.0, 40.0],
                "landmarks": [[1.0, 2.0]] * 5,
                "score": 0.99,
                "sharpness": 0.2,
                "sharp": False,
                "size": 29.0,
                "preview": {"key": key, "width": 4, "height": 3},
            }
            for index in range(2)
        ]
        image = {"width": 60, "height": 50, **accepted["input"]}
        result = {"photo": image, "faces": faces, "detector": "retinaface"}
        outcome = outcome or Outcome(Status.SUCCEEDED, result=result)
        assert store.runs.finish(accepted["id"], claim.token, outcome)
        return str(accepted["id"])

    return detected


def choosing(detection_id: str, indexes: list[Any] | None = None, **options: Any) -> dict[str, Any]:
    faces = {"detection_id": detection_id, "indexes": [0] if indexes is None else indexes}
    return {"options": {"faces": faces, **options}}


def restore(client: Authorised, photo: bytes, request: dict[str, Any]) -> TestResponse:
    return upload(client, photo, "/v1/restorations", request=json.dumps(request))


def pointers(response: TestResponse) -> list[str]:
    assert response.status_code == 422, response.data
    return [error["pointer"] for error in response.get_json()["errors"]]


def test_an_uploaded_photo_is_accepted(client: Authorised, photo: bytes) -> None:
    response = upload(client, photo)
    assert response.status_code == 202
    body = response.get_json()
    assert (body["object"], body["status"]) == ("detection", "queued")
    assert response.headers["Location"] == f"/v1/detections/{body['id']}"
    assert body["input"]["bytes"] == len(photo)


def test_a_stored_object_and_a_url_are_accepted(
    client: Authorised, storage: ObjectStorage, photo: bytes
) -> None:
    storage.put("tenants/acme/files/a.jpg", photo, "image/jpeg")
    for given in ({"key": "a.jpg"}, {"url": "https://example.com/a.jpg"}):
        response = client.post("/v1/detections", json={"input": given})
        assert response.status_code == 202
        assert response.get_json()["input"] == given


def test_an_upload_can_be_searched_and_then_restored(
    client: Authorised, storage: ObjectStorage, photo: bytes, problem: Problem
) -> None:
    made = client.post(
        "/v1/uploads", json={"content_type": "image/jpeg", "bytes": len(photo)}
    ).get_json()
    storage.put(made["fields"]["key"], photo, "image/jpeg")
    request = {"input": {"upload_id": made["upload_id"]}}
    for _ in range(2):
        assert client.post("/v1/detections", json=request).status_code == 202
    assert client.post("/v1/restorations", json=request).status_code == 202
    assert problem(client.post("/v1/restorations", json=request)) == (409, "conflict")


def test_a_detection_shows_its_faces(client: Authorised, detected: Callable[..., str]) -> None:
    body = client.get(f"/v1/detections/{detected()}").get_json()
    assert body["status"] == "succeeded"
    assert body["progress"]["faces_done"] == 2
    assert [face["index"] for face in body["result"]["faces"]] == [0, 1]
    assert "X-Amz-Signature" in body["result"]["faces"][0]["preview"]["url"]


def test_a_request_can_wait_for_the_end(client: Authorised, detected: Callable[..., str]) -> None:
    detection_id = detected()
    shown = client.get(f"/v1/detections/{detection_id}?wait=5")
    assert shown.get_json()["status"] == "succeeded"
    tag = shown.headers["ETag"]
    again = client.get(f"/v1/detections/{detection_id}", headers={"If-None-Match": tag})
    assert again.status_code == 304


def test_an_erased_detection_is_gone_with_its_previews(
    client: Authorised, detected: Callable[..., str], storage: ObjectStorage, problem: Problem
) -> None:
    detection_id = detected()
    assert client.open(f"/v1/detections/{detection_id}", method="DELETE").status_code == 204
    assert problem(client.get(f"/v1/detections/{detection_id}")) == (404, "not-found")
    assert [stored.key for stored in storage.list("tenants/acme/")] == []


def test_detections_and_restorations_do_not_mix(
    client: Authorised, detected: Callable[..., str], photo: bytes, problem: Problem
) -> None:
    detection_id, job_id = detected(), restore(client, photo, {}).get_json()["id"]
    for path in (f"/v1/restorations/{detection_id}", f"/v1/detections/{job_id}"):
        assert problem(client.get(path)) == (404, "not-found")
        assert problem(client.open(path, method="DELETE")) == (404, "not-found")
    for action in ("cancel", "retry"):
        path = f"/v1/restorations/{detection_id}/{action}"
        assert problem(client.post(path)) == (404, "not-found")
    listed = client.get("/v1/restorations").get_json()["data"]
    assert [job["id"] for job in listed] == [job_id]


def test_another_tenant_sees_no_detection_and_cannot_choose_from_it(
    detected: Callable[..., str], enrol: Enrol, photo: bytes, problem: Problem
) -> None:
    detection_id, other = detected(), enrol("other")
    path = f"/v1/detections/{detection_id}"
    assert problem(other.get(path)) == (404, "not-found")
    assert problem(other.open(path, method="DELETE")) == (404, "not-found")
    refused = restore(other, photo, choosing(detection_id))
    assert pointers(refused) == ["/options/faces/detection_id"]


def test_a_key_that_may_only_read_cannot_detect(
    enrol: Enrol, photo: bytes, problem: Problem
) -> None:
    reader = enrol("acme", frozenset({"restorations:read"}))
    assert {"restorations:read"} < ALL_SCOPES
    assert problem(upload(reader, photo)) == (403, "forbidden")


def test_a_restoration_keeps_the_faces_of_the_detection(
    client: Authorised, detected: Callable[..., str], store: JobStore, photo: bytes
) -> None:
    detection_id = detected()
    response = restore(client, photo, choosing(detection_id, [1]))
    assert response.status_code == 202
    body = response.get_json()
    assert body["options"]["faces"] == {"detection_id": detection_id, "indexes": [1]}
    kept = store.get("acme", body["id"]).request["detected"]
    assert [face["box"][0] for face in kept["faces"]] == [1.0, 2.0]
    assert kept["sha256"] == body["input"]["sha256"]


@pytest.mark.parametrize(
    ("faces", "pointer"),
    [
        ({"detection_id": "det_1", "indexes": [0]}, "/options/faces/detection_id"),
        ({"detection_id": f"det_{'0' * 32}", "indexes": [0]}, "/options/faces/detection_id"),
        ({"detection_id": f"job_{'0' * 32}", "indexes": [0]}, "/options/faces/detection_id"),
        ({"indexes": [0]}, "/options/faces/detection_id"),
        ({"detection_id": f"det_{'0' * 32}"}, "/options/faces/indexes"),
        ({"detection_id": f"det_{'0' * 32}", "indexes": []}, "/options/faces/indexes"),
        ({"detection_id": f"det_{'0' * 32}", "indexes": ["0"]}, "/options/faces/indexes/0"),
        ({"detection_id": f"det_{'0' * 32}", "indexes": [-1]}, "/options/faces/indexes/0"),
        ({"detection_id": f"det_{'0' * 32}", "indexes": [0], "all": True}, "/options/faces/all"),
    ],
)
def test_a_wrong_choice_is_refused_at_its_field(
    client: Authorised, photo: bytes, faces: dict[str, Any], pointer: str
) -> None:
    assert pointer in pointers(restore(client, photo, {"options": {"faces": faces}}))


def test_an_index_without_a_face_is_refused(
    client: Authorised, detected: Callable[..., str], photo: bytes
) -> None:
    refused = restore(client, photo, choosing(detected(), [0, 2]))
    assert pointers(refused) == ["/options/faces/indexes/1"]


def test_faces_of_another_photo_are_refused(
    client: Authorised, detected: Callable[..., str], photo: bytes
) -> None:
    refused = restore(client, photo + b"\0", choosing(detected()))
    assert pointers(refused) == ["/options/faces/detection_id"]


def test_an_aligned_photo_has_no_faces_to_choose(
    client: Authorised, detected: Callable[..., str], photo: bytes
) -> None:
    refused = restore(client, photo, choosing(detected(), aligned=True))
    assert pointers(refused) == ["/options/aligned"]


def test_a_detection_that_has_not_ended_is_a_conflict(
    client: Authorised, photo: bytes, problem: Problem
) -> None:
    detection_id = upload(client, photo).get_json()["id"]
    assert problem(restore(client, photo, choosing(detection_id))) == (409, "conflict")


def test_a_failed_detection_has_no_faces_to_choose(
    client: Authorised, detected: Callable[..., str], photo: bytes
) -> None:
    refused = restore(client, photo, choosing(detected(Outcome(Status.FAILED))))
    assert pointers(refused) == ["/options/faces/detection_id"]


@pytest.mark.parametrize(
    "body", [{}, {"input": {}}, {"input": {"key": "a"}, "model": "m"}, {"input": None}, [], 1]
)
def test_a_body_that_is_not_a_request_is_refused(
    client: Authorised, body: object, problem: Problem
) -> None:
    response = client.post("/v1/detections", json=body)
    assert problem(response) == (422, "invalid-request")


def test_an_upload_with_parameters_is_refused(client: Authorised, photo: bytes) -> None:
    assert pointers(upload(client, photo, request="{}")) == ["/request"]


def test_an_upload_that_is_no_image_is_refused(client: Authorised, problem: Problem) -> None:
    assert problem(upload(client, b"just words")) == (422, "unsupported-image")


def test_the_same_request_twice_makes_one_detection(client: Authorised, photo: bytes) -> None:
    headers = {"Idempotency-Key": "one"}
    image = lambda: {"image": (io.BytesIO(photo), "photo.jpg", "image/jpeg")}  # noqa: E731
    first = client.post("/v1/detections", data=image(), headers=headers)
    second = client.post("/v1/detections", data=image(), headers=headers)
    assert first.get_json()["id"] == second.get_json()["id"]
    assert second.headers["Idempotent-Replayed"] == "true"


def test_a_restoration_with_the_key_of_a_detection_is_another_request(
    client: Authorised, photo: bytes, problem: Problem
) -> None:
    headers = {"Idempotency-Key": "one"}
    image = lambda: {"image": (io.BytesIO(photo), "photo.jpg", "image/jpeg")}  # noqa: E731
    assert client.post("/v1/detections", data=image(), headers=headers).status_code == 202
    refused = client.post("/v1/restorations", data=image(), headers=headers)
    assert problem(refused) == (422, "idempotency-mismatch")
