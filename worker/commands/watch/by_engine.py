"""One photo of a watched folder, restored on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from facemend.folder.record import Record
from facemend.folder.result_names import ResultNames
from facemend.folder.run import Errand
from shared.errors import FacemendError, InputError, InputNotFound, PublishFailed, Unavailable
from worker.commands.exit_codes import line_of
from worker.commands.restore.batch import PhotoBatch
from worker.commands.restore.plan import Plan, Work
from worker.commands.watch.restorers import Attempt


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
    return Attempt("later", reason, everywhere=isinstance(error, PublishFailed | Unavailable))
