"""Restore the photos of a folder by a service; see ``facemend.steps``."""

from __future__ import annotations

import errno
import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

from facemend.errors import (
    IdempotencyMismatch,
    InputProblem,
    JobFailed,
    NotFound,
    PayloadTooLarge,
    ResultDamaged,
)
from facemend.folder.photos import PhotoFolder
from facemend.folder.record import Record, Sent
from facemend.folder.result_names import ResultNames
from facemend.folder.results import RECORD_NAME
from facemend.models import Restoration
from facemend.steps import Steps, Together

DONE_BEFORE = "done before"
#: Errors of one photo; any other error ends the run, because it would meet every photo.
_OF_THE_PHOTO = (InputProblem, JobFailed, PayloadTooLarge, ResultDamaged)
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class Jobs(Protocol):
    """What is needed of ``facemend.operations.Operations``."""

    @property
    def submit(self) -> Callable[..., Steps[Restoration]]: ...
    @property
    def get(self) -> Callable[[str], Steps[Restoration]]: ...
    @property
    def wait(self) -> Callable[[Restoration], Steps[Restoration]]: ...
    @property
    def save(self) -> Callable[[Restoration, Path], Steps[Path | None]]: ...


@dataclass(frozen=True, slots=True)
class PhotoOutcome:
    """What became of one photo of a folder.

    ``unchanged``: a result was written, but no face was restored. ``reason`` says why the photo was
    skipped, or failed; ``code`` is that of the problem, if the service named one.
    """

    photo: Path
    status: Literal["restored", "unchanged", "failed", "skipped"]
    result: Path | None = None
    reason: str | None = None
    code: str | None = None
    job: Restoration | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        faces = self.job.result.faces if self.job and self.job.result else []
        return {
            "photo": str(self.photo),
            "status": self.status,
            "result": str(self.result) if self.result else None,
            "reason": self.reason,
            "code": self.code,
            "job_id": self.job.id if self.job else None,
            "faces": [face.model_dump(mode="json") for face in faces],
            "warnings": self.job.warnings if self.job else [],
        }


OnOutcome = Callable[[PhotoOutcome], object]


@dataclass(frozen=True, slots=True)
class Report:
    """The outcomes of a folder, in the order of names.

    ``left_out``: subfolders that were passed over.
    """

    outcomes: list[PhotoOutcome]
    left_out: int = 0

    def of(self, status: str) -> list[PhotoOutcome]:
        """The outcomes with this status."""
        return [outcome for outcome in self.outcomes if outcome.status == status]


@dataclass(frozen=True, slots=True)
class Errand:
    """One photo of a folder: its name in the record, and where its result goes."""

    photo: Path
    name: str
    target: Path


@dataclass
class PhotosByService:
    """Restores single photos of a folder. ``request``: arguments of ``submit``."""

    jobs: Jobs
    request: dict[str, Any]
    record: Record
    names: ResultNames

    def one(self, errand: Errand) -> Steps[PhotoOutcome]:
        """Restore one photo, and write its result and its line in the record.

        A photo that was sent before, by a run that was interrupted, is not sent again. Raises
        errors that do not belong to the photo: the service is away, the disk is full.
        """
        try:
            return (yield from self._restore(errand))
        except _OF_THE_PHOTO as error:
            job = error.job if isinstance(error, JobFailed) else None
            job = job if isinstance(job, Restoration) else None
            code = getattr(error, "code", None)
            return PhotoOutcome(errand.photo, "failed", reason=str(error), code=code, job=job)
        except OSError as error:
            if error.errno in _DISK_FULL:
                raise
            reason = f"{error.strerror or error}"
            return PhotoOutcome(errand.photo, "failed", reason=reason)

    def _restore(self, errand: Errand) -> Steps[PhotoOutcome]:
        version = self.record.version_of(errand.photo)
        job = yield from self._job_before(errand)
        if job is None:
            job = yield from self._submit(errand)
        done = yield from self.jobs.wait(job)
        if done.result is None:
            raise JobFailed(done)
        target = self.names.of_format(errand.target, done.result.image.format)
        yield from self.jobs.save(done, target)
        self.record.add(errand.name, version, [target])
        restored = done.result.background or any(
            face.status == "restored" for face in done.result.faces
        )
        return PhotoOutcome(
            errand.photo, "restored" if restored else "unchanged", result=target, job=done
        )

    def _job_before(self, errand: Errand) -> Steps[Restoration | None]:
        """The job of an interrupted run, if it goes on or has succeeded."""
        sent = self.record.sent(errand.name, errand.photo)
        if sent is None or sent.job_id is None:
            return None
        try:
            job = yield from self.jobs.get(sent.job_id)
        except NotFound:
            return None
        return None if job.status in {"failed", "canceled"} else job

    def _submit(self, errand: Errand) -> Steps[Restoration]:
        """Send the photo, with the key of an interrupted request if there was one."""
        sent = self.record.sent(errand.name, errand.photo)
        if sent is not None and sent.job_id is None:
            try:
                return (yield from self._send(errand, sent.key))
            except (IdempotencyMismatch, NotFound):  # the request was another, or was erased
                pass
        return (yield from self._send(errand, uuid.uuid4().hex))

    def _send(self, errand: Errand, key: str) -> Steps[Restoration]:
        version = self.record.version_of(errand.photo)
        self.record.add_sent(errand.name, version, Sent(key))
        job = yield from self.jobs.submit(errand.photo, idempotency_key=key, **self.request)
        self.record.add_sent(errand.name, version, Sent(key, job.id))
        return job


def digest_of(request: dict[str, Any]) -> str:
    """Return what identifies a way to restore photos, for the record."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:16]


@dataclass
class FolderRun:
    """Restores a folder into another. Raises ValueError if it has no photo."""

    jobs: Jobs
    photos: PhotoFolder
    output: Path
    request: dict[str, Any]
    resume: bool = True
    on_outcome: OnOutcome | None = None
    _outcomes: dict[Path, PhotoOutcome] = field(default_factory=dict)

    def steps(self, in_flight: int) -> Steps[Report]:
        """Restore the photos, ``in_flight`` at a time."""
        found = list(self.photos.files())
        if not any(reason is None for _, reason in found):
            raise ValueError(self.photos.nothing_found(found))
        record = Record.of_folder(self.output, digest_of(self.request))
        todo = list(self._todo(found, record))
        names = ResultNames([self.output / RECORD_NAME, *record.results()])
        worker = PhotosByService(self.jobs, self.request, record, names)
        errands = [
            Errand(photo, name, names.claim(self.output / name))
            for photo, name in ((photo, self.photos.name_of(photo)) for photo in todo)
        ]
        yield Together((partial(self._one, worker, errand) for errand in errands), in_flight)
        outcomes = [self._outcomes[path] for path, _ in found if path in self._outcomes]
        return Report(outcomes, self.photos.left_out)

    def _todo(self, found: list[tuple[Path, str | None]], record: Record) -> Iterator[Path]:
        for path, reason in found:
            before = None if reason else record.result_of(self.photos.name_of(path), path)
            if reason:
                self._tell(PhotoOutcome(path, "skipped", reason=reason))
            elif before and self.resume:
                self._tell(PhotoOutcome(path, "skipped", result=before, reason=DONE_BEFORE))
            else:
                record.forget(self.photos.name_of(path))
                yield path

    def _one(self, worker: PhotosByService, errand: Errand) -> Steps[None]:
        self._tell((yield from worker.one(errand)))

    def _tell(self, outcome: PhotoOutcome) -> None:
        self._outcomes[outcome.photo] = outcome
        if self.on_outcome:
            self.on_outcome(outcome)
