"""The faces of an earlier detection, for a restoration that names them in ``options.faces``."""

from __future__ import annotations

import re
from typing import Any

from api.context import Services
from api.jobs.submission import Submission
from shared.errors import Conflict, FacemendError, InvalidRequest, NotFound
from shared.jobs.job import Job
from shared.restore_options import FacesOfDetection
from shared.tenants.api_keys import ApiKey

_ID = re.compile(r"det_[0-9a-f]{32}", re.ASCII)
_POINTER = "/options/faces"
_KEPT = ("box", "landmarks", "score")


def check_id(detection_id: str) -> str:
    """Return a well-formed id, which may be part of a Redis key. Raises NotFound otherwise."""
    if not _ID.fullmatch(detection_id):
        raise NotFound
    return detection_id


def of_request(submission: Submission, caller: ApiKey, services: Services) -> dict[str, Any]:
    """Return what the request of a restoration keeps of the detection that it names, or nothing.

    ``{"detected": {"sha256": …, "faces": […]}}``: the hash of the photo, and all its faces. So the
    job needs neither the record of the detection nor the same detector. Raises InvalidRequest, and
    Conflict if the detection has not ended.
    """
    options: Any = submission.parameters.options
    chosen = options.faces
    if not isinstance(chosen, FacesOfDetection):
        return {}
    if options.aligned:
        raise _invalid("/options/aligned", "an aligned photo is one face: leave out options.faces")
    result = _result(chosen.detection_id, caller, services)
    faces, sha256 = result["faces"], result["photo"]["sha256"]
    for place, index in enumerate(chosen.indexes):
        if index >= len(faces):
            detail = f"the detection has {len(faces)} faces, counted from 0"
            raise _invalid(f"{_POINTER}/indexes/{place}", detail)
    if submission.image_sha256 not in {None, sha256}:
        raise _invalid(f"{_POINTER}/detection_id", "the detection is of another file")
    kept = [{name: face[name] for name in _KEPT} for face in faces]
    return {"detected": {"sha256": sha256, "faces": kept}}


def _result(detection_id: str, caller: ApiKey, services: Services) -> dict[str, Any]:
    try:
        detection = services.store.get(caller.tenant, check_id(detection_id))
    except NotFound:
        detail = "there is no such detection; it may have expired"
        raise _invalid(f"{_POINTER}/detection_id", detail) from None
    _require_end(detection)
    if detection.result is None:
        detail = f"the detection has no faces: its status is {detection.status}"
        raise _invalid(f"{_POINTER}/detection_id", detail)
    return detection.result


def _require_end(detection: Job) -> None:
    if not detection.status.terminal:
        raise Conflict(
            f"The detection is {detection.status}. Wait for its end, then send this again."
        )


def _invalid(pointer: str, detail: str) -> FacemendError:
    return InvalidRequest("1 field is not valid.", [(pointer, detail)])
