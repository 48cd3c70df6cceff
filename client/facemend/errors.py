"""The errors of the client. All of them are a ClientError.

ClientError
├── ProblemError        the service refused the request and says why (RFC 9457)
│   ├── InvalidRequest, Unauthorized, Forbidden, NotFound, MethodNotAllowed, PayloadTooLarge,
│   ├── UnsupportedMediaType, Conflict, IdempotencyInProgress, IdempotencyMismatch,
│   ├── RateLimited, QueueFull, Unavailable
│   ├── InputProblem      the photo cannot be used; ``code`` says why
│   ├── ModelUnavailable
│   └── ServiceError      an error of the service itself
├── Unreachable         no answer, although the client tried again
├── UnexpectedAnswer    the answer is not from a Facemend service
├── JobFailed           the job has ended without a result; ``job.error`` says why
│   └── JobCanceled
├── WaitTimeout         the job has not ended in the time that the caller gave
├── ResultDamaged       the picture that arrived is not the one that the job names
└── SignatureInvalid    a webhook has another sender, was changed on its way, or is too old
"""

from __future__ import annotations

from typing import ClassVar

from facemend.models import Detection, Problem, Restoration


class ClientError(Exception):
    """Root of the tree."""


class ProblemError(ClientError):
    """The service refused the request. ``problem`` is what it said.

    ``retry_after_s``: seconds after which the service expects the request again, or None.
    """

    codes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, problem: Problem, retry_after_s: float | None = None) -> None:
        where = "".join(
            f"; {error.get('pointer', '')}: {error.get('detail', '')}"
            for error in problem.errors or ()
        )
        super().__init__(f"{problem.code}: {problem.detail}{where}")
        self.problem, self.retry_after_s = problem, retry_after_s

    @property
    def code(self) -> str:
        """The last part of the problem's type, such as ``queue-full``."""
        return self.problem.code

    @property
    def status(self) -> int:
        """The status of the HTTP response."""
        return self.problem.status


class InvalidRequest(ProblemError):
    """A field is wrong; ``problem.errors`` names it."""

    codes = ("invalid-request",)


class Unauthorized(ProblemError):
    codes = ("unauthorized",)


class Forbidden(ProblemError):
    codes = ("forbidden",)


class NotFound(ProblemError):
    codes = ("not-found",)


class MethodNotAllowed(ProblemError):
    codes = ("method-not-allowed",)


class Conflict(ProblemError):
    """The state of the job does not allow that."""

    codes = ("conflict",)


class IdempotencyInProgress(ProblemError):
    codes = ("idempotency-in-progress",)


class IdempotencyMismatch(ProblemError):
    codes = ("idempotency-mismatch",)


class PayloadTooLarge(ProblemError):
    codes = ("payload-too-large",)


class UnsupportedMediaType(ProblemError):
    codes = ("unsupported-media-type",)


class RateLimited(ProblemError):
    codes = ("rate-limited",)


class QueueFull(ProblemError):
    codes = ("queue-full",)


class Unavailable(ProblemError):
    codes = ("unavailable",)


class InputProblem(ProblemError):
    """The photo cannot be used."""

    codes = (
        "input-not-found",
        "input-forbidden",
        "input-too-large",
        "input-timeout",
        "input-changed",
        "unsupported-image",
        "corrupt-image",
        "image-too-many-pixels",
        "no-face-found",
        "identity-too-low",
    )


class ModelUnavailable(ProblemError):
    codes = ("model-unavailable",)


class ServiceError(ProblemError):
    """An error of the service. Report it with ``problem.request_id``."""

    codes = ("internal",)


_BY_CODE: dict[str, type[ProblemError]] = {
    code: kind for kind in ProblemError.__subclasses__() for code in kind.codes
}


def problem_error(problem: Problem, retry_after_s: float | None = None) -> ProblemError:
    """Return the error of the problem's code; an unknown code gives a plain ProblemError."""
    return _BY_CODE.get(problem.code, ProblemError)(problem, retry_after_s)


class Unreachable(ClientError):
    """There was no whole answer. ``temporary``: another try may help."""

    def __init__(self, detail: str, *, temporary: bool = True) -> None:
        super().__init__(detail)
        self.temporary = temporary


class UnexpectedAnswer(ClientError):
    """The answer is not what a Facemend service sends: perhaps the address is another server's."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"HTTP {status}: {detail}")
        self.status = status


class JobFailed(ClientError):
    """The job has ended without a result."""

    def __init__(self, job: Restoration | Detection) -> None:
        problem = job.error
        why = f"{problem.code}: {problem.detail}" if problem else job.status
        super().__init__(f"{job.id}: {why}")
        self.job = job

    @property
    def code(self) -> str:
        """The code of the job's problem; the status of a job without one."""
        return self.job.error.code if self.job.error else self.job.status


class JobCanceled(JobFailed):
    """Somebody canceled the job."""


class WaitTimeout(ClientError):
    """The job goes on; ``job_id`` continues to wait for it."""

    def __init__(self, job_id: str, timeout_s: float) -> None:
        super().__init__(f"{job_id} has not ended after {timeout_s:g} s; it goes on")
        self.job_id = job_id


class ResultDamaged(ClientError):
    """The bytes that arrived have another hash than the job names."""


class SignatureInvalid(ClientError):
    """The webhook must not be trusted."""
