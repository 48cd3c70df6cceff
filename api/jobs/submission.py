"""Bodies of POST /v1/restorations and /v1/detections: JSON, or multipart with the photo in it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import IO, Any

from flask import Request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from api.payload import Model, pointer, read_json, repeated, validate
from shared.contract.detections import DetectionRequest
from shared.contract.restorations import Input, RestorationParameters, RestorationRequest
from shared.errors import (
    InvalidRequest,
    MalformedRequest,
    PayloadTooLarge,
    UnsupportedMediaType,
)
from shared.jobs.job import Kind

JSON, MULTIPART = "application/json", "multipart/form-data"
IMAGE_PART, REQUEST_PART = "image", "request"
#: Cap of a JSON document, alone or as a part. The largest valid one has about 15 kB.
MAX_JSON_BYTES = 128 * 1024
#: What multipart may add to the photo: boundaries, part headers and the request.
MULTIPART_OVERHEAD_BYTES = MAX_JSON_BYTES + 16 * 1024
_MAX_PARTS = 16


@dataclass(frozen=True)
class Submission:
    """A request that reads well; nothing in it is looked up yet.

    Either ``input`` says where the photo is, or ``image`` is the photo's file.
    """

    parameters: RestorationParameters
    input: Input | None
    image: bytes | None
    kind: Kind = Kind.RESTORATION

    @cached_property
    def record(self) -> dict[str, Any]:
        """The request as the job keeps it; ``input`` of an upload is its size and hash."""
        request: dict[str, Any] = {}
        if self.kind is Kind.RESTORATION:
            request = self.parameters.model_dump(mode="json", exclude={"input"})
        if self.image is None:
            given = self.input.model_dump(exclude_none=True) if self.input else {}
        else:
            given = {"bytes": len(self.image), "sha256": self.image_sha256}
        return request | {"input": given}

    @cached_property
    def image_sha256(self) -> str | None:
        """Hash of the file of the photo in hex; None if it is not in the request."""
        return None if self.image is None else hashlib.sha256(self.image).hexdigest()

    @cached_property
    def fingerprint(self) -> str:
        """Equal for requests that mean the same, whatever the order of their fields. Hex."""
        detection = {"kind": self.kind} if self.kind is Kind.DETECTION else {}
        canonical = json.dumps(self.record | detection, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def read(request: Request, *, max_input_bytes: int) -> Submission:
    """Read the body by its content type.

    Raises UnsupportedMediaType, PayloadTooLarge, MalformedRequest, InvalidRequest.
    """
    if request.mimetype == MULTIPART:
        _refuse_encoded(request)
        return _read_multipart(request, max_input_bytes)
    if request.mimetype != JSON:
        raise UnsupportedMediaType(f"Send {JSON} or {MULTIPART}.")
    parameters = read_document(request, RestorationRequest)
    return Submission(parameters, parameters.input, image=None)


def read_detection(request: Request, *, max_input_bytes: int) -> Submission:
    """Read the body of POST /v1/detections: JSON with ``input``, or multipart with the photo.

    Raises as ``read`` does.
    """
    if request.mimetype != MULTIPART:
        given, image = read_document(request, DetectionRequest).input, None
    else:
        _refuse_encoded(request)
        parts = _split(request, max_input_bytes)
        if REQUEST_PART in parts:
            raise InvalidRequest(
                "A detection has no parameters.",
                [(pointer(REQUEST_PART), "leave this part out")],
            )
        given, image = None, _photo_of(parts, max_input_bytes)[0]
    return Submission(RestorationParameters(), given, image, Kind.DETECTION)


def read_document(
    request: Request, model: type[Model], *, max_bytes: int = MAX_JSON_BYTES
) -> Model:
    """Read a body that has to be JSON, of at most ``max_bytes``.

    Raises UnsupportedMediaType, PayloadTooLarge, MalformedRequest, InvalidRequest.
    """
    _refuse_encoded(request)
    if request.mimetype != JSON:
        raise UnsupportedMediaType(f"Send {JSON}.")
    request.max_content_length = max_bytes
    try:
        data = request.get_data(cache=False)
    except RequestEntityTooLarge:
        raise PayloadTooLarge(f"The JSON may have {max_bytes} bytes.") from None
    return validate(model, read_json(data))


def _refuse_encoded(request: Request) -> None:
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Send the body without Content-Encoding.")


def _read_multipart(request: Request, max_input_bytes: int) -> Submission:
    image, document = _photo_of(_split(request, max_input_bytes), max_input_bytes)
    return Submission(validate(RestorationParameters, document), input=None, image=image)


def _photo_of(parts: dict[str, bytes], max_input_bytes: int) -> tuple[bytes, Any]:
    """Return the photo and the JSON of an upload."""
    if IMAGE_PART not in parts:
        raise InvalidRequest(
            "The photo is missing.",
            [(pointer(IMAGE_PART), "this part is needed, as a file with a filename")],
        )
    image = parts.pop(IMAGE_PART)
    if len(image) > max_input_bytes:
        raise PayloadTooLarge(f"The photo has {len(image)} bytes; {max_input_bytes} are allowed.")
    document = read_json(parts.pop(REQUEST_PART, b"{}"))
    if parts:
        raise InvalidRequest(
            "The upload has parts that nobody reads.",
            [(pointer(name), "unknown part") for name in sorted(parts)],
        )
    if isinstance(document, dict) and "input" in document:
        raise InvalidRequest(
            "The photo is given twice.",
            [(pointer("input"), "leave it out: the photo is in the part “image”")],
        )
    return image, document


def _split(request: Request, max_input_bytes: int) -> dict[str, bytes]:
    """The parts by name. Werkzeug spools them to a file: nothing above the cap is ever read."""
    if not request.mimetype_params.get("boundary"):
        raise MalformedRequest("The multipart body has no boundary.")
    cap_bytes = max_input_bytes + MULTIPART_OVERHEAD_BYTES
    request.max_content_length = cap_bytes
    request.max_form_memory_size = MAX_JSON_BYTES
    request.max_form_parts = _MAX_PARTS
    try:
        files, fields = request.files, request.form
    except RequestEntityTooLarge:
        raise PayloadTooLarge(
            f"The upload may have {max_input_bytes} bytes, its other parts {MAX_JSON_BYTES},"
            f" and no more than {_MAX_PARTS} parts."
        ) from None
    except ValueError:
        raise MalformedRequest("The multipart body is broken.") from None
    texts = list(fields.items(multi=True))
    uploads = list(files.items(multi=True))
    if twice := repeated(name for name, _ in [*texts, *uploads]):
        raise InvalidRequest(
            "The upload has a part twice.",
            [(pointer(name), "give it once") for name in sorted(twice)],
        )
    parts = {name: value.encode() for name, value in texts if name != IMAGE_PART}
    return parts | {name: file.read() for name, file in uploads}


class StrictRequest(Request):
    """A request whose broken multipart bodies are errors; Werkzeug would read them as empty."""

    def make_form_data_parser(self) -> FormDataParser:
        parser = super().make_form_data_parser()
        parser.silent = False
        return parser

    def _get_file_stream(self, *args: Any, **kwargs: Any) -> IO[bytes]:
        """Remember each spool file, so that ``close`` finds it even if the body is broken."""
        stream = super()._get_file_stream(*args, **kwargs)
        self.__dict__.setdefault("spooled", []).append(stream)
        return stream

    def close(self) -> None:
        """Called by Flask when the request is over."""
        super().close()
        for stream in self.__dict__.get("spooled", ()):
            stream.close()
