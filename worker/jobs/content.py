"""The content of a job: a digest of all that decides its result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from shared.contract.restorations import Output
from shared.digest import digest
from shared.jobs.workers import ServedModel
from shared.program_version import program_version
from shared.restore_options import RestoreOptions

#: Changes with the form of the digest, so that results of another form are never found.
_VERSION = 1
#: The options that decide the result. A new option needs a decision here: a test compares this
#: list with the declaration of the options.
DECIDING_OPTIONS = frozenset(
    {
        "aligned",
        "background",
        "detection_threshold",
        "faces",
        "keep_colour",
        "max_faces",
        "min_face_px",
        "min_identity",
        "noise_scale",
        "post_filter",
        "resampling",
        "seed",
        "skip_sharp",
        "strength",
        "strict",
        "truncation",
    }
)
#: The fields of ``output`` that decide the result, and those that only say where it goes.
DECIDING_OUTPUT = frozenset({"comparison", "face_crops", "format", "quality"})
OTHER_OUTPUT = frozenset({"key", "store"})
_OPTIONS: Mapping[str, Any] = {each.name: each.default for each in fields(RestoreOptions)}
_OUTPUT: Mapping[str, Any] = Output().model_dump(mode="json")


def content_of(request: Mapping[str, Any], photo_sha256: str, model: ServedModel) -> str | None:
    """Return the digest of the content of a job (32 hex digits), or None.

    ``request`` is that of the job, ``model`` as this worker has loaded it. Two jobs of a tenant
    with the same content have equal results: the same photo, model, arithmetic, options, output and
    version of this program. Returns None if the request has a field of another version, which may
    decide the result there.
    """
    options, output = request.get("options", {}), request.get("output", {})
    if options.keys() - DECIDING_OPTIONS or output.keys() - DECIDING_OUTPUT - OTHER_OUTPUT:
        return None
    content = {
        "version": _VERSION,
        "program": program_version(),
        "photo": photo_sha256,
        "model": [model.name, model.sha256, model.precision, model.backend],
        "options": {name: options.get(name, _OPTIONS[name]) for name in DECIDING_OPTIONS},
        "output": {name: output.get(name, _OUTPUT[name]) for name in DECIDING_OUTPUT},
        "detected": request.get("detected"),
    }
    return digest(json.dumps(content, sort_keys=True, separators=(",", ":")))
