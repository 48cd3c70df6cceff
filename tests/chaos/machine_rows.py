"""Clocks that are wrong, models that are missing or changed, scratch disks that are full."""

from __future__ import annotations

import hashlib
import resource
import shutil
import time
from importlib import resources
from pathlib import Path

from tests.chaos.audit import audit
from tests.chaos.processes import tree
from tests.chaos.receiver import Receiver
from tests.chaos.rows import Run, row
from tests.chaos.service import Service, eventually

_HOUR_S = 3600
_REFUSAL_S = 90.0
_EXIT_CANNOT_START = 3
_SCRATCH_BYTES = 500
_SHIPPED = "facemend-starter.safetensors"


@row("F18", "clocks: workers one hour off, API one hour behind", "early reaps 0")
def skew_clocks(run: Run) -> None:
    with run.service() as service, Receiver() as receiver:
        service.start("notifier")
        for kind, skew_s in (("api", -_HOUR_S), ("worker", _HOUR_S), ("worker", -_HOUR_S)):
            part = service.launch(kind, argv=("-m", "tests.chaos.skewed", str(skew_s)))
            service.wait_ready(part)
            run.row.injected += 1
        customer = run.customer(service, receiver)
        for number in range(16):  # two of them longer than a lease
            customer.submit(customer.order(seconds=13.0 if number < 2 else 1.0))
        audit(run.row, service, customer, receiver)
        for job_id in customer.book:
            job = service.job(job_id)
            run.row.require(job and job.attempt == 1, f"{job_id} was taken from its worker")
        for name, text in service.logs():
            run.row.require('"event": "reaped' not in text, f"{name} reaped early")
        run.row.note("the skew is Python's time.time(); S3 itself refuses signatures an hour off")


@row("F23", "model file missing; one byte of it flipped", "never serves; names the hash")
def spoil_model(run: Run) -> None:
    with run.service() as service:
        shipped = Path(str(resources.files("worker.weights") / "bundled" / _SHIPPED))
        models = service.folder / "models"
        models.mkdir()
        for name, spoilt in (("gone", None), ("flipped", 1)):
            path = models / f"{name}.safetensors"
            shutil.copy(shipped, path)
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            path.with_name(f"{path.name}.sha256").write_text(f"{sha256}  {path.name}\n")
            _spoil(path, spoilt)
            _assert_refused(run, service, name, sha256 if spoilt else "")
            run.row.injected += 1


def _spoil(path: Path, bytes_flipped: int | None) -> None:
    if bytes_flipped is None:
        path.unlink()
        return
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _assert_refused(run: Run, service: Service, model: str, expected: str) -> None:
    worker = service.launch(
        "real-worker", models_dir=service.folder / "models", default_model=model
    )
    ended = eventually(lambda: not worker.child.running, _REFUSAL_S, pause_s=0.1)
    run.row.require(ended, f"a worker with a {model} model does not end")
    code = worker.child.exit_code
    run.row.require(code == _EXIT_CANNOT_START, f"it ended with {code}: {worker.child.log_tail(3)}")
    said = worker.log()
    run.row.require("cannot start" in said and expected in said, f"it said {said[-300:]}")
    run.row.require('"event": "ready' not in said, f"a worker with a {model} model was ready")
    run.row.require(not service.store.served_models(), f"a {model} model is served")


@row("F24", "worker's scratch (memory files) full", "tried again; files left 0")
def fill_scratch(run: Run) -> None:
    with run.service() as service, Receiver() as receiver:
        service.start("api", "notifier")
        customer = run.customer(service, receiver)
        scratch = service.folder / "scratch"
        scratch.mkdir()
        worker = service.launch("worker", TMPDIR=scratch)
        service.wait_ready(worker)
        before = _files(worker.child.log_path.parent, scratch)
        full, none = resource.RLIMIT_FSIZE, resource.RLIM_INFINITY
        children = tree(worker.pid) - {worker.pid}  # of itself it writes nothing but the log
        for pid in children:
            resource.prlimit(pid, full, (_SCRATCH_BYTES, none))
        for _ in range(4):
            customer.submit(customer.order(seconds=0.5))
            run.row.injected += 1
        time.sleep(4)
        tried = [job.attempt for job in customer.open_jobs().values()]
        run.row.note(f"{len(tried)} of 4 had to be tried again")
        run.row.require(tried, "a full disk was not noticed")
        for pid in children & tree(worker.pid):
            resource.prlimit(pid, full, (none, none))
        audit(run.row, service, customer, receiver)
        left = _files(worker.child.log_path.parent, scratch) - before
        run.row.require(not left, f"files left: {sorted(left)[:3]}")


def _files(*folders: Path) -> set[Path]:
    return {path for folder in folders for path in folder.rglob("*") if path.is_file()}
