"""The tree of errors: every error that leaves the package that raises it.

FacemendError
├── RequestError        the HTTP request cannot be served as it is
│   ├── MalformedRequest, InvalidRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed,
│   ├── SignatureInvalid (an Unauthorized), TargetTooLong, HeadersTooLong (MalformedRequests),
│   ├── Conflict, IdempotencyInProgress, IdempotencyMismatch, PayloadTooLarge, SlowRequest,
│   └── UnsupportedMediaType, RateLimited, QueueFull, Unavailable,
│       BucketMissing, Refused (an Unavailable)
├── InputError          the photo cannot be restored as it is
│   ├── InputNotFound, InputForbidden, InputTooLarge, InputTimeout, InputChanged,
│   ├── UnsupportedImage, CorruptImage, ImageTooManyPixels,
│   ├── ObjectKeyInvalid (an InputNotFound), InputUnreachable (an InputTimeout),
│   └── NoFaceFound, IdentityTooLow
├── EngineError         the photo is fine; the model or the device is not
│   ├── ModelUnavailable
│   │   └── WeightsMissing, WeightsInvalid, LicenceNotAccepted, OptionUnavailable
│   └── OutOfMemory
├── ExecutionError      the run went wrong
│   └── WorkerLost, Poisoned, DeadlineExceeded, PublishFailed (PublishRefused), Internal
├── ControlError        stops a run without ending the job; never stored with a job
│   └── LeaseLost, JobCanceled, Draining, EqualJobRuns, EngineCrashed, EngineLost
└── CommandError        stops a process or a command; its detail is for the person who started it
    └── SettingsInvalid, ManifestInvalid, StackFailed, DatasetError, TrainingFailed

``code`` is the last part of a problem's ``type`` (RFC 9457); docs/problems.md has the cause and the
cure of each.
``retryable`` says whether the same job may succeed later without a change.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, ClassVar

PROBLEM_BASE = "https://facemend.dev/problems/"


class FacemendError(Exception):
    """Root of the tree. ``detail`` is written for the person who has to act on it."""

    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something went wrong on our side"
    retryable: ClassVar[bool] = False
    http_status: ClassVar[int] = 500

    def __init__(self, detail: str = "") -> None:
        self.detail = detail or self.title
        super().__init__(self.detail)

    def problem(self) -> dict[str, Any]:
        """Return the members of RFC 9457 that do not depend on the request."""
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
    """The request is not valid HTTP, or its body cannot be parsed (broken JSON, multipart)."""


class TargetTooLong(MalformedRequest):
    title, http_status = "The address of the request is too long", 414


class HeadersTooLong(MalformedRequest):
    title, http_status = "The header fields are too long or too many", 431


class InvalidRequest(RequestError):
    """The body is well formed, but a field is wrong.

    ``errors`` are pairs of a JSON pointer (RFC 6901) and what is wrong there.
    """

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
    """A webhook has another sender, was changed on its way, or is too old."""

    title = "The webhook's signature is not valid"


class Forbidden(RequestError):
    code, title, http_status = "forbidden", "This API key may not do that", 403


class NotFound(RequestError):
    code, title, http_status = "not-found", "There is nothing here", 404


class MethodNotAllowed(RequestError):
    code, title, http_status = "method-not-allowed", "This path does not support that method", 405


class Conflict(RequestError):
    code, title, http_status = "conflict", "The job's state does not allow that", 409


class PayloadTooLarge(RequestError):
    code, title, http_status = "payload-too-large", "The upload is too large", 413


class UnsupportedMediaType(RequestError):
    code, title, http_status = (
        "unsupported-media-type",
        "This content type is not supported",
        415,
    )


class SlowRequest(RequestError):
    """The client sent part of the request and then nothing, or almost nothing."""

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
    title = "The first request with this Idempotency-Key is still being processed"


class RateLimited(_TryLater):
    code, title, http_status = "rate-limited", "Too many requests", 429


class QueueFull(_TryLater):
    code, title, http_status = "queue-full", "Too many jobs are waiting", 429


class Unavailable(_TryLater):
    """Redis or the object storage does not respond. ``part``: redis, s3, or empty if unknown."""

    code, title, http_status = "unavailable", "A part of the service is not reachable", 503
    part: str = ""

    def problem(self) -> dict[str, Any]:
        return super().problem() | ({"part": self.part} if self.part else {})


class BucketMissing(Unavailable):
    """The object storage responds, but the bucket of the service does not exist."""

    title = "The storage does not have the bucket of the service"
    part = "s3"


class Refused(Unavailable):
    """Redis responds that it accepts no writes now. Nothing has been changed."""

    part = "redis"


class InputError(FacemendError):
    code, title, http_status = "unsupported-image", "The photo cannot be used", 422


class InputNotFound(InputError):
    code, title, http_status = "input-not-found", "The photo was not found", 422


class ObjectKeyInvalid(InputNotFound):
    """An object in the storage cannot have this name."""


class InputForbidden(InputError):
    code, title, http_status = "input-forbidden", "The photo's address is not allowed", 422


class InputTooLarge(InputError):
    code, title, http_status = "input-too-large", "The photo's file is too large", 422


class InputTimeout(InputError):
    code, title, http_status = "input-timeout", "The photo's server responds too slowly", 422
    retryable = True


class InputUnreachable(InputTimeout):
    """Nothing responds at the photo's address, or its server is overloaded or broken for now."""

    title = "The photo's server is not available"


class InputChanged(InputError):
    code, title, http_status = (
        "input-changed",
        "The photo was replaced after the job was accepted",
        422,
    )


class UnsupportedImage(InputError):
    code, title, http_status = "unsupported-image", "This image format is not supported", 422


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
    """The requested model is unknown here or cannot be served."""


class WeightsMissing(ModelUnavailable):
    """The weights file is not on this machine. The detail names the command that downloads it."""


class WeightsInvalid(ModelUnavailable):
    """The weights file is not the expected one. The detail names the file, key or hash."""


class LicenceNotAccepted(ModelUnavailable):
    """The licence of the weights is not open, and the operator has not accepted it."""


class OptionUnavailable(ModelUnavailable):
    """The models here do not support an option. The detail says which ones do."""


class OutOfMemory(EngineError):
    code, title = "out-of-memory", "The device has too little memory for this photo"
    retryable = True


class ExecutionError(FacemendError):
    """The run failed for a reason other than the photo or the model."""


class WorkerLost(ExecutionError):
    code, title, retryable = "worker-lost", "Workers died while working on this job", True


class Poisoned(ExecutionError):
    code, title = "poisoned", "The photo crashes the worker"


class DeadlineExceeded(ExecutionError):
    code, title = "deadline-exceeded", "The job was not finished in time"


class PublishFailed(ExecutionError):
    code, title, retryable = "publish-failed", "The result could not be stored", True


class PublishRefused(PublishFailed):
    """The client's address for the result refuses it. Another run would not change that."""

    retryable = False


class Internal(ExecutionError):
    """Unexpected. The log has the details; the customer gets only the request or job id."""


class ControlError(FacemendError):
    """Ends a run, but not its job. It is never stored as the error of a job."""

    title = "The run was stopped"


class LeaseLost(ControlError):
    """Another worker owns the job now: stop, and write nothing."""

    title = "The lease on this job is over"


class JobCanceled(ControlError):
    """The customer cancelled a running job: stop at this stage."""

    title = "The job was cancelled"


class Draining(ControlError):
    """The worker stops before this job can finish: release the job to other workers."""

    title = "The worker is shutting down"


class EqualJobRuns(ControlError):
    """An equal job runs now: this one is back in the queue, and starts again when that one ends."""

    title = "An equal job runs now"


class EngineCrashed(ControlError):
    """The engine process died while it had this job, perhaps because of the job.

    ``child`` identifies the process that died.
    """

    title = "The engine process died"

    def __init__(self, detail: str = "", child: Hashable = None) -> None:
        super().__init__(detail)
        self.child = child


class EngineLost(ControlError):
    """The engine process cannot be started again: this worker can run no job at all."""

    title = "The engine process cannot be started again"


class CommandError(FacemendError):
    """Stops a process or a command. The detail is for the person who started it."""

    title = "The command cannot run"


class SettingsInvalid(CommandError):
    """A setting is wrong; the process does not start."""

    title = "A setting is wrong"


class ManifestInvalid(CommandError):
    """The manifest of a result cannot be trusted, or it is that of another file."""

    title = "The manifest cannot be trusted"


class StackFailed(CommandError):
    """The embedded stack, or one process of it, does not start."""

    title = "The embedded stack could not be started"


class DatasetError(CommandError):
    """A folder or archive of photos cannot be used. The detail says what to do."""

    title = "The photos cannot be used"


class TrainingFailed(CommandError):
    """A training cannot go on. The detail names the checkpoint that is still good."""

    title = "The training cannot go on"
