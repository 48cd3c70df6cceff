"""The operations of a client, without input and output; see ``facemend.steps``."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Unpack
from urllib.parse import quote

from facemend.batches import ROOT as _BATCHES
from facemend.batches import BatchOperations
from facemend.calls import Tries, call, read_model
from facemend.errors import Conflict, JobCanceled, JobFailed, NotFound, UnexpectedAnswer
from facemend.folder.photos import PhotoFolder
from facemend.folder.run import FolderRun, OnOutcome, Report
from facemend.following import Following
from facemend.models import (
    Batch,
    Detection,
    Restoration,
    RestorationPage,
    Status,
    Token,
    Upload,
)
from facemend.parameters import Format, Options, Output, Priority, Scope, Webhook
from facemend.photo import Photo, content_type_of, size_bytes
from facemend.steps import Answer, Request, Steps, handing_to
from facemend.transfers import Which, check_suffix, fetch, picture_of, replaced

OnProgress = Callable[[Restoration], object]

_ROOT, _DETECTIONS = "/v1/restorations", "/v1/detections"
_POLL_OF_MANY_S = 5.0  # an interrupted batch ends when the polls of its photos have ended


@dataclass(frozen=True, slots=True)
class Operations(BatchOperations):
    """``patience_s``: how long a request is tried again while the service is away or busy.

    ``poll_s``: how long one request waits for the end of a job, at most 60.
    """

    poll_s: float = 25.0

    def submit(
        self,
        photo: Photo | None = None,
        *,
        url: str | None = None,
        key: str | None = None,
        upload_id: str | None = None,
        model: str | None = None,
        output: Output | None = None,
        webhook: Webhook | None = None,
        priority: Priority | None = None,
        start_before_s: int | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[Options],
    ) -> Steps[Restoration]:
        """Submit one photo and return its job, which is queued.

        Give ``photo`` (a path, bytes, or an open file), ``url``, ``key`` (an object of yours in the
        storage of the service) or ``upload_id`` (of ``upload``). The other arguments are the fields
        of a request; those of ``options`` are named directly: ``strength=0.8``.

        The request has an idempotency key, yours or a random one. So it is safe to send it again,
        and the client does: a lost answer never makes two jobs. Raises ProblemError, Unreachable,
        OSError if the photo cannot be read, and ValueError for two photos or none.
        """
        fields = _given(
            model=model,
            options=dict(options) or None,
            output=output,
            webhook=webhook,
            priority=priority,
            start_before_s=start_before_s,
            metadata=None if metadata is None else dict(metadata),
        )
        source = _given(url=url, key=key, upload_id=upload_id)
        request = _submission(_ROOT, photo, source, fields, idempotency_key)
        return read_model(Restoration, (yield from self._call(request)))

    def restore(
        self,
        photo: Photo | None = None,
        *,
        url: str | None = None,
        key: str | None = None,
        upload_id: str | None = None,
        model: str | None = None,
        output: Output | None = None,
        webhook: Webhook | None = None,
        priority: Priority | None = None,
        start_before_s: int | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[Options],
    ) -> Steps[Restoration]:
        """Restore one photo, wait, and return the result, which can be saved.

        The arguments are those of ``submit`` and ``wait``. Without ``output``, the result is a PNG,
        which keeps every pixel. Raises what both raise, and JobFailed or JobCanceled if the job
        ends without a result.
        """
        job = yield from self.submit(
            photo,
            url=url,
            key=key,
            upload_id=upload_id,
            model=model,
            output=output or {"format": "png"},
            webhook=webhook,
            priority=priority,
            start_before_s=start_before_s,
            metadata=metadata,
            idempotency_key=idempotency_key,
            **options,
        )
        return succeeded((yield from self.wait(job, timeout_s=timeout_s, on_progress=on_progress)))

    def detect(
        self,
        photo: Photo | None = None,
        *,
        url: str | None = None,
        key: str | None = None,
        upload_id: str | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> Steps[Detection]:
        """Find the faces of a photo, and restore none: to choose some of them.

        ``restore(photo, faces=detection.choose(0, 2))`` restores the chosen ones. The photo is
        given as to ``submit``. Raises what ``submit`` raises, JobFailed and WaitTimeout.
        """
        source = _given(url=url, key=key, upload_id=upload_id)
        request = _submission(_DETECTIONS, photo, source, {}, idempotency_key)
        begun = read_model(Detection, (yield from self._call(request)))
        following = Following(begun.id, _path(begun), self.patience_s, timeout_s)
        done = yield from following.poll(Detection, self.poll_s)
        if done.result is None:
            raise JobFailed(done)
        return done

    def batch(
        self,
        folder: str | os.PathLike[str],
        output: str | os.PathLike[str],
        *,
        recursive: bool = False,
        resume: bool = True,
        in_flight: int = 8,
        on_outcome: OnOutcome | None = None,
        model: str | None = None,
        output_format: Format = "same",
        priority: Priority | None = None,
        metadata: Mapping[str, str] | None = None,
        **options: Unpack[Options],
    ) -> Steps[Report]:
        """Restore the photos of a folder into another one, and return what became of each.

        ``in_flight`` photos are sent, restored or fetched at a time. With ``resume``, photos that
        were restored before in the same way and have not changed are skipped; photos that an
        interrupted run has sent are not sent again. A photo that fails stops none of the others.
        ``on_outcome`` is called for each photo. Raises ValueError if there is no photo, OSError if
        the disk is full, and what ``submit`` raises for errors that would meet every photo.
        """
        source, target = Path(folder), Path(output)
        if target.exists() and target.samefile(source):
            raise ValueError("the results need a folder of their own")
        request = _given(
            model=model,
            output={"format": output_format},
            priority=priority,
            metadata=None if metadata is None else dict(metadata),
            **options,
        )
        jobs = replace(self, poll_s=_POLL_OF_MANY_S)
        run = FolderRun(
            jobs, PhotoFolder(source, recursive, (target,)), target, request, resume, on_outcome
        )
        return (yield from run.steps(in_flight))

    def upload(self, photo: Photo, *, content_type: str | None = None) -> Steps[Upload]:
        """Send a photo straight to the storage, without the API in between: for large files.

        Give the ``upload_id`` of what is returned to ``submit`` or ``restore``, once.
        ``content_type``: the photo's type, if its first bytes do not tell. Raises OSError,
        ValueError for a file that is no photo, ProblemError, Unreachable.
        """
        kind = content_type or content_type_of(photo)
        wanted = {"content_type": kind, "bytes": size_bytes(photo)}
        answer = yield from self._call(Request(method="POST", url="/v1/uploads", json=wanted))
        upload = read_model(Upload, answer)
        yield from self._call(
            Request(
                method=upload.method,
                url=upload.url,
                form=upload.fields,
                photo=photo,
                photo_part="file",
                photo_type=kind,
            )
        )
        return upload

    def get(self, job: Restoration | str) -> Steps[Restoration]:
        """Return the job as it is now, with new presigned addresses. Raises NotFound."""
        answer = yield from self._call(Request(method="GET", url=_path(job)))
        return read_model(Restoration, answer)

    def wait(
        self,
        job: Restoration | str,
        *,
        timeout_s: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> Steps[Restoration]:
        """Wait until the job has ended and return it, whether it succeeded, failed or was canceled.

        ``on_progress`` is called with the job at each change. ``timeout_s``: raise WaitTimeout
        after that time (with ``on_progress``, up to 15 s later); the job goes on.
        """
        if isinstance(job, Restoration) and job.ended:
            return job
        following = self._following(job, timeout_s)
        if on_progress is None:
            return (yield from following.poll(Restoration, self.poll_s))
        told = on_progress
        return (yield from handing_to(lambda event: told(event.job), following.events()))

    def events(self, job: Restoration | str, *, last_event_id: str = "") -> Steps[Restoration]:
        """Iterate over the changes of a job, as Events, until it has ended.

        A broken connection is made again, and no change is repeated. ``last_event_id``: begin
        after this event.
        """
        return (yield from self._following(job, None).events(last_event_id))

    def cancel(self, job: Restoration | str) -> Steps[Restoration]:
        """Cancel a job: a queued one at once, a running one at its next stage. Raises Conflict."""
        return (yield from self._change(job, "cancel", {"canceled"}))

    def retry(self, job: Restoration | str) -> Steps[Restoration]:
        """Run a failed or canceled job again, under the same id. Raises Conflict."""
        return (yield from self._change(job, "retry", {"queued", "running"}))

    def erase(self, job: Restoration | Detection | Batch | str) -> Steps[None]:
        """Erase a job, detection or batch, in any state, with its pictures. Raises NotFound."""
        tries = Tries()
        try:
            yield from self._call(Request(method="DELETE", url=_path(job)), tries)
        except NotFound:
            if not tries.again:  # else the first request erased it, and its answer was lost
                raise

    def list(
        self,
        *,
        status: Status | None = None,
        model: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Steps[RestorationPage]:
        """Return one page of your jobs, newest first.

        ``cursor`` is the ``next_cursor`` of the page before.
        """
        params = _given(status=status, model=model, limit=limit, cursor=cursor)
        answer = yield from self._call(Request(method="GET", url=_ROOT, params=params))
        return read_model(RestorationPage, answer)

    def create_token(
        self, *, scopes: Sequence[Scope] | None = None, jobs: int = 100, expires_in_s: int = 3600
    ) -> Steps[Token]:
        """Make a short-lived key for a web page: fewer scopes, and ``jobs`` jobs at most."""
        body = _given(scopes=scopes and [*scopes], jobs=jobs, expires_in_s=expires_in_s)
        answer = yield from self._call(Request(method="POST", url="/v1/tokens", json=body))
        return read_model(Token, answer)

    def save(
        self,
        job: Restoration | str,
        target: str | os.PathLike[str] | IO[bytes],
        *,
        which: Which = "image",
    ) -> Steps[Path | None]:
        """Write a picture of a job that succeeded to a path, or to a file that can be read again.

        Returns the path. A path is replaced only once the whole picture has arrived and its hash is
        right; its folder is made. An address that has expired is renewed. Raises ValueError if the
        name of the file does not fit the format, OSError, ResultDamaged.
        """
        found = job if isinstance(job, Restoration) else (yield from self.get(job))
        picture = picture_of(found, which)
        if not isinstance(target, str | os.PathLike):
            yield from self._fetch(found, target, which)
            return None
        path = Path(target)
        check_suffix(path, picture)
        with replaced(path) as file:
            yield from self._fetch(found, file, which)
        return path

    def _fetch(self, job: Restoration, file: IO[bytes], which: Which) -> Steps[None]:
        try:
            yield from fetch(picture_of(job, which), file, self.patience_s)
        except UnexpectedAnswer:  # the address has expired
            fresh = yield from self.get(job)
            yield from fetch(picture_of(fresh, which), file, self.patience_s)

    def _following(self, job: Restoration | str, timeout_s: float | None) -> Following:
        job_id = job if isinstance(job, str) else job.id
        return Following(job_id, _path(job), self.patience_s, timeout_s)

    def _change(self, job: Restoration | str, verb: str, wanted: set[str]) -> Steps[Restoration]:
        """Cancel or retry. After a lost answer, a conflict may be with our own first request."""
        tries = Tries()
        try:
            answer = yield from self._call(
                Request(method="POST", url=f"{_path(job)}/{verb}"), tries
            )
        except Conflict:
            found = (yield from self.get(job)) if tries.again else None
            if found is None or found.status not in wanted:
                raise
            return found
        return read_model(Restoration, answer)

    def _call(self, request: Request, tries: Tries | None = None) -> Steps[Answer]:
        return (yield from call(request, self.patience_s, tries))


def succeeded(job: Restoration) -> Restoration:
    """Return the job if it has a result. Raises JobFailed, JobCanceled."""
    if job.status == "canceled":
        raise JobCanceled(job)
    if job.result is None:
        raise JobFailed(job)
    return job


def _given(**fields: Any) -> dict[str, Any]:
    """The fields that have a value; the service fills in the others."""
    return {name: value for name, value in fields.items() if value is not None}


def _submission(
    url: str,
    photo: Photo | None,
    source: dict[str, Any],
    fields: dict[str, Any],
    idempotency_key: str | None,
) -> Request:
    """The request that makes a job of a photo or of a ``source``. Raises ValueError."""
    if len(source) + (photo is not None) != 1:
        raise ValueError("give exactly one of photo, url, key and upload_id")
    headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
    if photo is None:
        return Request(method="POST", url=url, headers=headers, json={**fields, "input": source})
    form = {"request": json.dumps(fields)} if fields else {}
    return Request(method="POST", url=url, headers=headers, form=form, photo=photo)


def _path(job: Restoration | Detection | Batch | str) -> str:
    job_id = job if isinstance(job, str) else job.id
    root = {"det_": _DETECTIONS, "bat_": _BATCHES}.get(job_id[:4], _ROOT)
    return f"{root}/{quote(job_id, safe='')}"
