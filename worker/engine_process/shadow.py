"""The shadow: a model that is not served restores a share of the finished jobs once more.

Its results are compared with those of the served model and dropped. It has one thread, which lets
jobs pass, and no error of it leaves that thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Self

import numpy as np

from shared.errors import FacemendError, Internal, ModelUnavailable, OptionUnavailable, OutOfMemory
from shared.jobs.job import Kind
from shared.jobs.shadow_sums import ModelPair, ShadowFigures
from shared.telemetry import bind
from worker.engine import ModelInfo, Restoration
from worker.engine.comparison import Comparison, FaceComparison
from worker.engine.devices import is_out_of_memory
from worker.engine.faces.detector import DetectedFace
from worker.engine.faces.identity import Embedder, load_embedder
from worker.engine.stage_timer import OnProgress
from worker.engine_process.lost_device import exit_if_device_is_broken
from worker.engine_process.protocol import RestoreRequest
from worker.engine_process.request_handler import ImageRestorer, face_options
from worker.engine_process.shadow_report import ShadowReport
from worker.imaging.decode import Photo

_log = logging.getLogger(__name__)
#: Jobs that may wait, and the bytes of their photos and results; more are dropped.
MAX_WAITING, MAX_WAITING_BYTES = 8, 256_000_000
#: The shadow of a job waits so long for moments in which no job runs. A lower priority of its
#: thread would not do: it would hold the interpreter's lock and not run, while jobs wait for it.
_PATIENCE_S = 5.0
_POLL_S = 0.05


def is_shadowed(job_id: str, share: float) -> bool:
    """Return whether a job is one of the share: the same for each of its runs, on any worker."""
    return int.from_bytes(sha256(job_id.encode()).digest()[:8]) < share * 2**64


@dataclass(frozen=True, slots=True)
class _FinishedJob:
    request: RestoreRequest
    photo: Photo
    restoration: Restoration
    served: ModelInfo

    @classmethod
    def of(
        cls, request: RestoreRequest, photo: Photo, restoration: Restoration, served: ModelInfo
    ) -> Self:
        """Keep of a job only what the comparison needs."""
        result = Photo(restoration.photo.pixels)
        faces = (replace(face, crop_before=None, crop_after=None) for face in restoration.faces)
        return cls(
            request,
            Photo(photo.pixels, grey=photo.grey),
            replace(restoration, photo=result, faces=tuple(faces)),
            served,
        )

    @property
    def nbytes(self) -> int:
        return self.photo.pixels.nbytes + self.restoration.photo.pixels.nbytes


class Shadow:
    """``name``: the model that ``load`` loads; without it, or with a ``share`` of 0, there is none.

    ``report`` must not raise. `offer` is thread-safe.
    """

    def __init__(
        self,
        name: str | None,
        load: Callable[[], ImageRestorer],
        *,
        share: float,
        served: Collection[ModelInfo],
        report: Callable[[ShadowReport], None],
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._name, self._load, self._share = name or "", load, share
        self._served, self._report, self._patience_s = served, report, patience_s
        self._jobs_run: Callable[[], bool] = lambda: False
        self._info: ModelInfo | None = None  # once it is loaded
        self._waiting: deque[_FinishedJob] = deque()
        self._changed = threading.Condition()

    def start(self, jobs_run: Callable[[], bool] = lambda: False) -> None:
        """Begin to load the model; jobs are offered in vain until then.

        ``jobs_run``: whether a job runs now.
        """
        self._jobs_run = jobs_run
        if self._name and self._share:
            threading.Thread(target=self._work, name="shadow", daemon=True).start()

    def offer(
        self, request: RestoreRequest, photo: Photo, restoration: Restoration, served: ModelInfo
    ) -> None:
        """Take a job whose result is complete, if it is one of the share. Returns at once."""
        info = self._info
        if info is None or not self._takes(request, served, info):
            return
        job = _FinishedJob.of(request, photo, restoration, served)
        with self._changed:
            waiting_bytes = sum(each.nbytes for each in self._waiting)
            if len(self._waiting) < MAX_WAITING and waiting_bytes + job.nbytes <= MAX_WAITING_BYTES:
                self._waiting.append(job)
                self._changed.notify()
                return
        self._report(ShadowReport("dropped", _pair(info, served)))

    def _takes(self, request: RestoreRequest, served: ModelInfo, info: ModelInfo) -> bool:
        """Whether the job is one of the share, and both models can do it from the same pixels."""
        options = request.options
        return (
            is_shadowed(request.job_id, self._share)
            and request.kind == Kind.RESTORATION
            and served.task == info.task
            and options.get("background", "keep") == "keep"
            and (served.template == info.template or not options.get("aligned"))
        )

    # --- the thread of the shadow -----------------------------------------------------------

    def _work(self) -> None:
        pair = ModelPair(self._name, "", "", "")
        self._report(ShadowReport("began", pair))
        try:
            restorer, embedder = self._loaded(), _embedder()
        except Exception as error:  # noqa: BLE001  # whatever it is, the jobs go on
            self._fail(pair, error, "%s does not run in the shadow", self._name)
            return
        self._report(ShadowReport("loaded", replace(pair, new_sha256=restorer.info.sha256)))
        _log.info("%s runs in the shadow", self._name)
        self._info = restorer.info
        while True:
            self._run(restorer, embedder, self._next())

    def _loaded(self) -> ImageRestorer:
        if self._name in {info.name for info in self._served}:
            raise ModelUnavailable(f"{self._name} is served: it cannot be its own shadow")
        restorer = self._load()
        if restorer.info.task not in {info.task for info in self._served}:
            raise ModelUnavailable(f"no served model does what {self._name} does")
        return restorer

    def _next(self) -> _FinishedJob:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            return self._waiting.popleft()

    def _run(self, restorer: ImageRestorer, embedder: Embedder | None, job: _FinishedJob) -> None:
        pair = _pair(restorer.info, job.served)
        with bind(**{"job_id": job.request.job_id} | job.request.log_fields):
            give_up_s = time.monotonic() + self._patience_s
            self._let_jobs_pass(give_up_s)
            self._report(ShadowReport("began", pair))
            try:
                figures = _compared(
                    restorer, embedder, job, lambda *_: self._let_jobs_pass(give_up_s)
                )
            except Exception as error:  # noqa: BLE001  # the job has its result already
                self._fail(pair, error, "%s failed in the shadow", self._name)
            else:
                self._report(ShadowReport("compared", pair, figures=figures))

    def _let_jobs_pass(self, give_up_s: float) -> None:
        while self._jobs_run() and time.monotonic() < give_up_s:
            time.sleep(_POLL_S)

    def _fail(self, pair: ModelPair, error: Exception, *words: str) -> None:
        _log.error(*words, exc_info=error)
        exit_if_device_is_broken(error)
        self._report(ShadowReport("failed", pair, _reason(error)))


def _compared(
    restorer: ImageRestorer, embedder: Embedder | None, job: _FinishedJob, on_progress: OnProgress
) -> ShadowFigures:
    """Restore the faces of a job that were found already, and compare both results."""
    options = replace(face_options(job.request), strict=False, crops=False)
    faces = [
        DetectedFace(face.box, np.asarray(face.landmarks), face.score)
        for face in job.restoration.faces
    ]
    shadowed = restorer.restore(job.photo, options, on_progress, faces)
    comparison = Comparison(
        job.served.template, max(job.served.size_px, restorer.info.size_px), embedder
    )
    figures = ShadowFigures(
        jobs=1,
        old_ms=job.restoration.timings_ms.get("restore", 0),
        new_ms=shadowed.timings_ms.get("restore", 0),
    )
    for face in comparison.faces(job.photo.pixels, job.restoration, shadowed):
        _add(figures, face)
    return figures


def _add(figures: ShadowFigures, face: FaceComparison) -> None:
    old, new = face.old, face.new
    figures.faces += 1
    for model, status in (("old", old.status), ("new", new.status)):
        name = f"{model}_{status}"
        setattr(figures, name, getattr(figures, name) + 1)
    if not face.changed:
        return
    figures.compared += 1
    figures.squared_error += face.squared_error
    figures.old_sharpness += old.sharpness
    figures.new_sharpness += new.sharpness
    figures.sharpness_squares += (new.sharpness - old.sharpness) ** 2
    figures.old_sharper += old.sharpness > new.sharpness
    figures.new_sharper += new.sharpness > old.sharpness
    if old.identity is None or new.identity is None:
        return
    figures.identified += 1
    figures.old_identity += old.identity
    figures.new_identity += new.identity
    figures.identity_squares += (new.identity - old.identity) ** 2
    figures.old_nearer += old.identity > new.identity
    figures.new_nearer += new.identity > old.identity


def _pair(new: ModelInfo, old: ModelInfo) -> ModelPair:
    return ModelPair(new.name, new.sha256, old.name, old.sha256)


def _embedder() -> Embedder | None:
    """Return None if the packages for identity are not installed."""
    try:
        return load_embedder()
    except OptionUnavailable:
        return None


def _reason(error: Exception) -> str:
    if isinstance(error, FacemendError):
        return error.code
    return OutOfMemory.code if is_out_of_memory(error) else Internal.code
