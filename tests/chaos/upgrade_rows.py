"""Old and new processes side by side, one release apart, with jobs in flight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shared.jobs.job import Status
from tests.chaos.audit import audit
from tests.chaos.customer import ALL_EVENTS
from tests.chaos.receiver import Receiver
from tests.chaos.rows import Run, Skipped, row
from tests.chaos.service import Part, Service, eventually
from tests.releases import API, NoHistory, unpack_previous

_KINDS = ("api", "worker", "notifier")
_LENGTHS = (4.0, 0.3, 0.3)  # seconds
_ENDS_S = 60.0


@row("F29", "API, worker and notifier of this release and the one before, in each combination",
     "each combination ends its jobs", limit_s=600)  # fmt: skip
def mix_releases(run: Run) -> None:
    """As docs/upgrading.md says: workers, notifier, API; and the other way round."""
    try:
        previous = unpack_previous(run.folder / "previous")
    except NoHistory as reason:
        raise Skipped(str(reason)) from None
    # The spelling of this setting that both releases can read.
    with run.service(allow_private_addresses="true") as service, Receiver() as receiver:
        mix = Mix(run, service, receiver, previous)
        mix.replace("worker", by_old=False)  # old API and notifier, new worker
        mix.replace("notifier", by_old=False)
        mix.replace("worker", by_old=True)  # old API, new notifier, old worker
        mix.replace("api", by_old=False)  # new API and notifier, old worker
        mix.replace("notifier", by_old=True)
        mix.replace("worker", by_old=False)  # new API and worker, old notifier
        mix.replace("notifier", by_old=False)  # all are new
        audit(run.row, service, mix.customer, receiver)
        mix.check_runs()


class Mix:
    """A service with one API, one worker and one notifier, which at first are all old."""

    def __init__(self, run: Run, service: Service, receiver: Receiver, previous: Path) -> None:
        self._run, self._service, self._receiver = run, service, receiver
        self._previous = previous
        self._by_old: dict[str, bool] = {}
        self._parts = {kind: self._start(kind, by_old=True) for kind in _KINDS}
        self.customer = run.customer(service, receiver)
        self._interrupted: set[str] = set()
        self._use()

    def replace(self, kind: str, *, by_old: bool) -> None:
        """Replace one process while a job runs, others wait and a webhook is to be repeated."""
        refused = self._refused_webhook()
        orders = [self.customer.order(seconds=length) for length in _LENGTHS]
        running, *_ = jobs = [self.customer.submit(order) for order in orders]
        began = self.customer.wait_for(running, Status.RUNNING, _ENDS_S)
        self._run.row.require(began, f"{self._names()}: {running} does not start")
        before, self._parts[kind] = self._parts[kind], self._start(kind, by_old=by_old)
        if kind == "api":
            self.customer.url = self._parts[kind].url
        if kind == "worker":
            self._interrupted.add(running)  # the one before may give it back
        before.child.stop(grace_s=30)
        self._run.row.injected += 1
        self._expect_end(jobs)
        repeated = eventually(lambda: len(self._receiver.by_job()[refused]) > 1, _ENDS_S)
        self._run.row.require(repeated, f"{self._names()}: a refused webhook is not repeated")
        self._use()

    def check_runs(self) -> None:
        """Count the photos that ran more often than the replacements explain."""
        for job_id, accepted in self.customer.book.items():
            extra = self._service.runs().count(accepted.order.serial) - 1
            self._run.row.duplicated += max(0, extra - (job_id in self._interrupted))

    def _start(self, kind: str, *, by_old: bool) -> Part:
        self._by_old[kind] = by_old
        if not by_old:
            return self._service.start(kind)[0]
        module = [each.format(folder=self._previous) for each in API] if kind == "api" else None
        part = self._service.launch(kind, module=module, PYTHONPATH=self._previous)
        self._service.wait_ready(part)
        return part

    def _use(self) -> None:
        """Run, cancel and erase jobs, and read all of them, the earlier ones too."""
        kept, erased = (self.customer.submit() for _ in range(2))
        canceled = self.customer.submit(self.customer.order(seconds=_LENGTHS[0]))
        self._expect("POST", f"/v1/restorations/{canceled}/cancel", {200, 202})
        self._expect_end([kept, erased, canceled])
        self._expect("DELETE", f"/v1/restorations/{erased}", {204})
        for job_id in (canceled, erased):
            del self.customer.book[job_id]  # the audit wants jobs that succeed
        for job_id in self.customer.book:
            self._expect("GET", f"/v1/restorations/{job_id}", {200})
        listed = self._expect("GET", "/v1/restorations?limit=100", {200})["data"]
        missing = self.customer.book.keys() - {job["id"] for job in listed}
        self._run.row.require(not missing, f"{self._names()}: the list lacks {len(missing)} jobs")

    def _refused_webhook(self) -> str:
        """Return a job whose webhook was refused once."""
        webhook = {"url": self._receiver.url("/down"), "events": ALL_EVENTS}
        job_id = self.customer.submit(webhook=webhook)
        came = eventually(lambda: self._receiver.by_job()[job_id], _ENDS_S)
        self._run.row.require(came, f"{self._names()}: no webhook comes")
        return job_id

    def _expect_end(self, jobs: list[str]) -> None:
        left = self.customer.wait(jobs, _ENDS_S)
        self._run.row.require(not left, f"{self._names()}: {len(left)} jobs do not end")

    def _expect(self, method: str, path: str, statuses: set[int]) -> Any:
        answer = self.customer.send(method, path)
        status = answer and answer.status_code
        self._run.row.require(status in statuses, f"{self._names()}: {method} {path}: {status}")
        return answer.json() if answer is not None and answer.content else None

    def _names(self) -> str:
        return ", ".join(
            f"{'old' if by_old else 'new'} {kind}" for kind, by_old in self._by_old.items()
        )
