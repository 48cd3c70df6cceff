"""Every error of ours, in one tree.

FacemendError
├── RequestError        the HTTP request cannot be served as it is
│   ├── MalformedRequest, InvalidRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed,
│   ├── SignatureInvalid (an Unauthorized),
│   ├── Conflict, IdempotencyInProgress, IdempotencyMismatch, PayloadTooLarge, SlowRequest,
│   └── UnsupportedMediaType, RateLimited, QueueFull, Unavailable,
│       BucketMissing, Refused (an Unavailable)
├── InputError          the photo cannot be restored as it is
│   ├── InputNotFound, InputForbidden, InputTooLarge, InputTimeout, InputChanged,
│   ├── UnsupportedImage, CorruptImage, ImageTooManyPixels,
│   └── NoFaceFound, IdentityTooLow
├── EngineError         the photo is fine; we are not
│   ├── ModelUnavailable
│   │   └── WeightsMissing, WeightsInvalid, LicenceNotAccepted, OptionUnavailable
│   └── OutOfMemory
├── ExecutionError      the run went wrong
│   └── WorkerLost, Poisoned, DeadlineExceeded, PublishFailed, Internal
└── LeaseLost, JobCanceled, SettingsInvalid, StackFailed   control: never a problem of a job

``code`` is the last part of a problem's ``type`` (RFC 9457) and documented in docs/http-api.md.
``retryable`` says whether the same job may succeed later without being changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

PROBLEM_BASE = "https://facemend.dev/problems/"


class FacemendError(Exception):
    """Root of the tree; ``detail`` is written for the person who has to act on it."""

    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something went wrong on our side"
    retryable: ClassVar[bool] = False
    http_status: ClassVar[int] = 500

    def __init__(self, detail: str = "") -> None:
        self.detail = detail or self.title
        super().__init__(self.detail)

    def problem(self) -> dict[str, Any]:
        """RFC 9457 members that do not depend on the request."""
        return {
            "type": PROBLEM_BASE + self.code,
            "title": self.title,
            "status": self.http_status,
            "detail": self.detail,
            "code": self.code,
            "retryable": self.retryable,
        }


class RequestError(FacemendError):
    code = "invalid-request"
    title = "The request is not valid"
    http_status = 400


class MalformedRequest(RequestError):
    """The body cannot be read at all (broken JSON, broken multipart)."""


class InvalidRequest(RequestError):
    """The body reads, but a field is wrong. ``errors`` hold JSON pointers (RFC 6901)."""

    http_status = 422

    def __init__(self, detail: str = "", errors: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(detail)
        self.errors = tuple(errors)

    def problem(self) -> dict[str, Any]:
        errors = [{"pointer": pointer, "detail": detail} for pointer, detail in self.errors]
        return super().problem() | ({"errors": errors} if errors else {})


class Unauthorized(RequestError):
    code, title, http_status = "unauthorized", "A valid API key is needed", 401


class SignatureInvalid(Unauthorized):
    """A webhook is not from us, was changed on its way, or is too old."""

    title = "The webhook's signature is not valid"


class Forbidden(RequestError):
    code, title, http_status = "forbidden", "This API key may not do that", 403


class NotFound(RequestError):
    code, title, http_status = "not-found", "There is nothing here", 404


class MethodNotAllowed(RequestError):
    code, title, http_status = "method-not-allowed", "This path does not take that method", 405


class Conflict(RequestError):
    code, title, http_status = "conflict", "The job's state does not allow that", 409


class PayloadTooLarge(RequestError):
    code, title, http_status = "payload-too-large", "The upload is too large", 413


class UnsupportedMediaType(RequestError):
    code, title, http_status = "unsupported-media-type", "This content type is not taken here", 415


class SlowRequest(RequestError):
    """The client sent a part and then nothing, or next to nothing."""

    title, http_status, retryable = "The request took too long to arrive", 408, True


class IdempotencyMismatch(RequestError):
    code, http_status = "idempotency-mismatch", 422
    title = "This Idempotency-Key was used with another request"


class _TryLater(RequestError):
    """Carries ``Retry-After``."""

    retryable = True

    def __init__(self, detail: str = "", retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class IdempotencyInProgress(_TryLater):
    code, http_status = "idempotency-in-progress", 409
    title = "The first request with this Idempotency-Key is still being answered"


class RateLimited(_TryLater):
    code, title, http_status = "rate-limited", "Too many requests", 429


class QueueFull(_TryLater):
    code, title, http_status = "queue-full", "Too many jobs are waiting", 429


class Unavailable(_TryLater):
    """Redis or the object storage does not answer."""

    code, title, http_status = "unavailable", "A part of the service is not reachable", 503


class BucketMissing(Unavailable):
    """The object storage answers, but our bucket is not there."""

    title = "The storage has no bucket for us"


class Refused(Unavailable):
    """Redis answers that it takes nothing now: what was asked for has not happened."""


class InputError(FacemendError):
    code, title, http_status = "unsupported-image", "The photo cannot be used", 422


class InputNotFound(InputError):
    code, title, http_status = "input-not-found", "The photo was not found", 422


class InputForbidden(InputError):
    code, title, http_status = "input-forbidden", "The photo's address is not allowed", 422


class InputTooLarge(InputError):
    code, title, http_status = "input-too-large", "The photo's file is too large", 422


class InputTimeout(InputError):
    code, title, http_status = "input-timeout", "The photo's server answers too slowly", 422
    retryable = True


class InputChanged(InputError):
    code, title, http_status = (
        "input-changed",
        "The photo was replaced after the job was taken",
        422,
    )


class UnsupportedImage(InputError):
    code, title, http_status = "unsupported-image", "This is not an image we read", 422


class CorruptImage(InputError):
    code, title, http_status = "corrupt-image", "The image file is damaged", 422


class ImageTooManyPixels(InputError):
    code, title, http_status = "image-too-many-pixels", "The image is too large", 422


class NoFaceFound(InputError):
    code, title, http_status = "no-face-found", "No face was found in the photo", 422


class IdentityTooLow(InputError):
    code, http_status = "identity-too-low", 422
    title = "A restored face is no longer recognisable as the same person"


class EngineError(FacemendError):
    code, title, http_status = "model-unavailable", "The model cannot run", 503


class ModelUnavailable(EngineError):
    """The model asked for is unknown here or cannot be served."""


class WeightsMissing(ModelUnavailable):
    """The weights file is not on this machine; the detail names the command that gets it."""


class WeightsInvalid(ModelUnavailable):
    """The weights file is not what it should be; the detail names file, key or hash."""


class LicenceNotAccepted(ModelUnavailable):
    """The weights' licence is not open and the operator has not accepted it."""


class OptionUnavailable(ModelUnavailable):
    """What runs here cannot do what an option asks for; the detail says what can."""


class OutOfMemory(EngineError):
    code, title = "out-of-memory", "The device has too little memory for this photo"
    retryable = True


class ExecutionError(FacemendError):
    """Something outside photo and model ended the run."""


class WorkerLost(ExecutionError):
    code, title, retryable = "worker-lost", "Workers died while working on this job", True


class Poisoned(ExecutionError):
    code, title = "poisoned", "The photo crashes the worker"


class DeadlineExceeded(ExecutionError):
    code, title = "deadline-exceeded", "The job was not done in time"


class PublishFailed(ExecutionError):
    code, title, retryable = "publish-failed", "The result could not be stored", True


class Internal(ExecutionError):
    """Not foreseen. The log has the whole story, the customer only the request or job id."""


class LeaseLost(FacemendError):
    """Another worker owns the job now: stop, write nothing."""

    title = "The lease on this job is over"


class JobCanceled(FacemendError):
    """The customer cancelled a running job: stop at this stage."""

    title = "The job was cancelled"


class SettingsInvalid(FacemendError):
    """A setting is wrong; the process does not start."""

    title = "A setting is wrong"


class StackFailed(FacemendError):
    """The embedded stack (or one process of it) does not start."""

    title = "The embedded stack could not be started"
