"""How one photo of a watched folder is restored: by the engine here, or by a service."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from facemend.client import Client
from facemend.errors import ClientError, Forbidden, InvalidRequest, Unauthorized
from facemend.folder.record import Record
from facemend.folder.result_names import ResultNames
from facemend.folder.run import Errand, PhotosByService
from shared.errors import FacemendError, InputError, InputNotFound, SettingsInvalid
from worker.commands.exit_codes import line_of
from worker.commands.restore.batch import PhotoBatch
from worker.commands.restore.plan import Plan, Work


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one photo.

    ``bad``: the photo cannot be restored. ``later``: something else is wrong, which may pass.
    ``reason`` says why. ``everywhere``: it would meet every photo (the disk is full, the service
    is away).
    """

    status: Literal["done", "bad", "later"]
    reason: str = ""
    result: Path | None = None
    everywhere: bool = False


class OnePhoto(Protocol):
    """Restores one photo and writes its line in the record. Raises SettingsInvalid."""

    def __call__(self, errand: Errand) -> Attempt: ...


@dataclass
class ByEngine:
    """The engine of this process, as ``facemend restore`` uses it."""

    batch: PhotoBatch
    record: Record
    names: ResultNames

    def __call__(self, errand: Errand) -> Attempt:
        compared = errand.target.with_name(f"{errand.target.name}_comparison.png")
        work = Work(errand.photo, errand.target, compared, errand.name)
        outcome = self.batch.one(Plan((work,), self.names, self.record), work)
        if outcome.error is not None:
            return _attempt_of(outcome.error)
        remark = "; ".join(outcome.warnings)
        if self.record.result_before(errand.name) != outcome.output:  # the line was not written
            return Attempt("later", remark, everywhere=True)
        return Attempt("done", remark, outcome.output)


def _attempt_of(error: FacemendError) -> Attempt:
    reason = line_of(error)
    if isinstance(error, InputNotFound):  # it was moved away, or the folder is gone
        return Attempt("later", reason)
    if isinstance(error, InputError):
        return Attempt("bad", reason)
    return Attempt("later", reason, everywhere=error.code == "publish-failed")


@dataclass
class ByService:
    """A service, by its client."""

    client: Client
    photos: PhotosByService

    def __call__(self, errand: Errand) -> Attempt:
        try:
            outcome = self.client.run(self.photos.one(errand))
        except (Unauthorized, Forbidden, InvalidRequest) as error:
            raise SettingsInvalid(str(error)) from None
        except (ClientError, OSError) as error:
            return Attempt("later", str(error), everywhere=True)
        if outcome.status != "failed":
            return Attempt("done", result=outcome.result)
        problem = outcome.job.error if outcome.job else None
        if outcome.code is None or (problem and problem.retryable):
            return Attempt("later", outcome.reason or "")
        return Attempt("bad", outcome.reason or "")
