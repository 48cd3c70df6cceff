"""The whole worker process: it gets jobs through Celery, is stopped, is killed, or is at fault."""

from __future__ import annotations

import fcntl
import functools
import io
import os
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import httpx
import pytest
from celery import Celery
from PIL import Image
from redis import Redis

from deploy.embedded.child_process import ChildProcess, free_port
from shared.jobs.job import Job, Priority, Status
from shared.jobs.queues import QueueName
from shared.jobs.shadow_sums import ShadowSums
from shared.jobs.store import JobStore
from shared.queue.celery_queue import RESTORE_TASK, Doorbell, make_celery
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from tests.waiting import eventually
from tests.worker.engine_process.restorers import GO, Act
from tests.worker.scripted import MODEL

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).resolve().parents[2]
_PIPE_BYTES = 4096
DOORBELLS = QueueName(MODEL, Priority.NORMAL).doorbells
Start = Callable[..., ChildProcess]
Submit = Callable[[Act], Job]


def command(load: str = "load_restorers") -> list[str]:
    return [sys.executable, "-m", "tests.worker.serving", load]


def environment(settings: dict[str, Any]) -> dict[str, str]:
    env = {f"FACEMEND_{name.upper()}": str(value) for name, value in settings.items()}
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env}


@contextmanager
def log_pipe() -> Iterator[tuple[TextIO, int]]:
    """Yield a small pipe for a log: where it is read, and the descriptor to write to."""
    read_end, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    with os.fdopen(read_end) as reader:
        try:
            yield reader, writer
        finally:
            os.close(writer)


def unread(pipe: TextIO) -> int:
    """Return how many bytes wait in a pipe for its reader."""
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))[0]


@pytest.fixture
def start(stack_settings: dict[str, Any], tmp_path: Path) -> Iterator[Start]:
    """Start a worker that runs ``load`` of the acting restorers; it is ready on return.

    Each job runs, though the photos of two jobs may be the same: the result cache is off.
    """
    children: list[ChildProcess] = []

    def start(load: str = "load_restorers", **changes: Any) -> ChildProcess:
        plain = {"drain_s": 3, "models_dir": tmp_path, "result_cache": False}
        settings = {**stack_settings, **plain, **changes}
        child = ChildProcess(
            f"worker-{len(children)}",
            command(load),
            folder=tmp_path,
            env=environment(settings),
            cwd=tmp_path,
        )
        children.append(child)
        child.start()
        child.wait_until(lambda: "ready: scripted" in child.log_tail(100), timeout_s=60)
        return child

    yield start
    for child in children:
        child.stop(grace_s=20)


@pytest.fixture
def celery(settings: Settings) -> Iterator[Celery]:
    app = make_celery(settings, role="notifier")
    yield app
    app.close()


@pytest.fixture
def dispatcher(store: JobStore, celery: Celery) -> Iterator[None]:
    """Ring what is due, as the notifier does, until the test ends."""
    stop, doorbell = threading.Event(), Doorbell(celery)

    def ring() -> None:
        while not stop.wait(0.1):
            for due in store.runs.due():
                doorbell.ring(due.id, due.queue)

    thread = threading.Thread(target=ring)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.fixture
def submit_act(submit: Callable[..., Job], storage: ObjectStorage) -> Submit:
    """Accept a job whose photo asks for an act."""

    def submit_act(act: Act) -> Job:
        file = io.BytesIO()
        Image.new("RGB", (48, 48), (act, act, act)).save(file, "PNG")
        key = f"tenants/acme/files/{act.name}.png"
        storage.put(key, file.getvalue(), "image/png")
        return submit(source={"key": key})

    return submit_act


@pytest.fixture
def store_with_short_leases(store: JobStore, settings: Settings) -> JobStore:
    return JobStore(store.scripts, settings.model_copy(update={"lease_s": 2.0}))


def attempt_of(store: JobStore, job: Job) -> int:
    return store.get(job.tenant, job.id).attempt


def status_of(store: JobStore, job: Job) -> Status:
    return store.get(job.tenant, job.id).status


def spent(redis: Redis, job: Job) -> dict[str, str]:
    record: dict[str, str] = redis.hgetall(f"fm:job:{job.id}")  # type: ignore[assignment]
    return {name: value for name, value in record.items() if name.startswith("spent_")}


def descendants(pid: int) -> list[int]:
    children = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return children + [grandchild for child in children for grandchild in descendants(child)]


@pytest.mark.usefixtures("dispatcher")
def test_a_photo_passes_three_processes_and_only_the_worker_has_secrets(
    start: Start, submit_act: Submit, store: JobStore, stack_settings: dict[str, Any]
) -> None:
    worker = start()
    job = submit_act(Act.INVERT)
    eventually(lambda: status_of(store, job) is Status.SUCCEEDED)
    maps = Path(f"/proc/{worker.pid}/maps").read_text()
    assert not [name for name in ("torch", "cv2", "numpy", "PIL") if f"/{name}/" in maps]
    family = descendants(worker.pid)
    assert len(family) >= 2
    secrets = [stack_settings[name] for name in ("s3_secret_access_key", "api_key_pepper")]
    password = stack_settings["redis_url"].split(":")[2].split("@")[0]
    for pid in family:
        seen = Path(f"/proc/{pid}/environ").read_text() + Path(f"/proc/{pid}/cmdline").read_text()
        assert not [secret for secret in (*secrets, password) if secret in seen]


@pytest.mark.usefixtures("dispatcher")
def test_only_the_photo_that_crashes_the_engine_fails_and_after_two_crashes(
    start: Start, submit_act: Submit, store: JobStore
) -> None:
    worker = start()
    bystander, poison = submit_act(Act.SLEEP), submit_act(Act.CRASH)
    good = [submit_act(Act.INVERT) for _ in range(3)]
    eventually(lambda: all(status_of(store, job).terminal for job in [bystander, poison, *good]))
    failed = store.get(poison.tenant, poison.id)
    assert (failed.status, failed.error and failed.error["code"]) == (Status.FAILED, "poisoned")
    assert [status_of(store, job) for job in [bystander, *good]] == [Status.SUCCEEDED] * 4
    assert worker.log_tail(1000).count("SIGSEGV") == 2
    assert worker.running


@pytest.mark.usefixtures("dispatcher")
def test_a_stopped_worker_releases_unfinished_jobs_and_spends_no_budget(
    start: Start, submit_act: Submit, store: JobStore, redis: Redis
) -> None:
    worker = start(drain_s=2)
    endless, short = submit_act(Act.RUN_ON), submit_act(Act.SLEEP)
    eventually(lambda: status_of(store, endless) is Status.RUNNING)
    eventually(lambda: status_of(store, short) is Status.RUNNING)
    family = descendants(worker.pid)
    worker.signal(signal.SIGTERM)
    eventually(lambda: not worker.running, 10)
    assert worker.exit_code == 0
    assert status_of(store, short) is Status.SUCCEEDED
    assert status_of(store, endless) is Status.QUEUED
    assert spent(redis, endless) == {"spent_drain": "1"}
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family), 5)


@pytest.mark.usefixtures("dispatcher")
def test_a_job_that_does_not_stop_cannot_keep_the_worker_from_exiting(
    start: Start, submit: Callable[..., Job], store: JobStore, redis: Redis
) -> None:
    worker = start(drain_s=1, fetch_timeout_s=60)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stuck = submit(source={"url": f"http://127.0.0.1:{silent.getsockname()[1]}/photo.png"})
        eventually(lambda: status_of(store, stuck) is Status.RUNNING)
        worker.signal(signal.SIGTERM)
        eventually(lambda: not worker.running, 10)
    assert worker.exit_code == 0
    assert status_of(store, stuck) is Status.QUEUED
    assert spent(redis, stuck) == {"spent_drain": "1"}


@pytest.mark.usefixtures("dispatcher")
def test_a_log_that_nobody_reads_cannot_keep_the_worker_from_exiting(
    stack_settings: dict[str, Any],
    submit_act: Submit,
    store: JobStore,
    celery: Celery,
    tmp_path: Path,
) -> None:
    with log_pipe() as (reader, writer):
        env = environment({**stack_settings, "drain_s": 1, "models_dir": tmp_path})
        worker = subprocess.Popen(command(), env=env, cwd=tmp_path, stderr=writer)
        try:
            for line in reader:
                if "ready: scripted" in line:
                    break
            endless = submit_act(Act.RUN_ON)
            eventually(lambda: status_of(store, endless) is Status.RUNNING)
            for _ in range(100):  # each message of another version is a line of the log
                celery.send_task(RESTORE_TASK, args=[1, 2, 3], queue=DOORBELLS)
            eventually(lambda: unread(reader) > _PIPE_BYTES - 500)
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(10) == 0
        finally:
            worker.kill()
            worker.wait()
    assert status_of(store, endless) is Status.QUEUED


@pytest.mark.usefixtures("dispatcher")
def test_after_crashes_by_three_jobs_the_worker_exits_and_the_jobs_are_refunded(
    start: Start, submit_act: Submit, store: JobStore, redis: Redis
) -> None:
    worker = start(jobs_in_flight=4)
    jobs = [submit_act(Act.CRASH) for _ in range(4)]
    eventually(lambda: not worker.running, 60)
    assert worker.exit_code == 4
    assert "this worker is at fault, not its jobs: it exits" in worker.log_tail(50)
    queued = [job for job in jobs if status_of(store, job) is Status.QUEUED]
    assert len(queued) >= 2
    assert not [job for job in queued if "spent_crash" in spent(redis, job)]


@pytest.mark.usefixtures("dispatcher")
def test_an_engine_that_cannot_restart_charges_no_job(
    start: Start, submit_act: Submit, store: JobStore, redis: Redis
) -> None:
    worker = start("load_once")
    job = submit_act(Act.CRASH)
    eventually(lambda: not worker.running)
    assert worker.exit_code == 4
    assert status_of(store, job) is Status.QUEUED
    assert spent(redis, job) == {"spent_drain": "1"}


@pytest.mark.usefixtures("dispatcher")
def test_equal_jobs_run_once_on_two_workers(
    start: Start, submit_act: Submit, store: JobStore, tmp_path: Path
) -> None:
    start(result_cache=True)
    start(result_cache=True)
    jobs = [submit_act(Act.WAIT) for _ in range(4)]
    eventually(lambda: [attempt_of(store, job) for job in jobs] == [1] * 4)
    eventually(lambda: sum(status_of(store, job) is Status.RUNNING for job in jobs) == 1)
    (tmp_path / GO).touch()
    eventually(lambda: all(status_of(store, job) is Status.SUCCEEDED for job in jobs))
    assert sorted(store.get(job.tenant, job.id).cached for job in jobs) == [False, True, True, True]


@pytest.mark.usefixtures("dispatcher")
def test_a_job_that_waits_for_an_equal_one_ends_though_the_worker_of_that_one_is_killed(
    start: Start, submit_act: Submit, store_with_short_leases: JobStore, tmp_path: Path
) -> None:
    store, short = store_with_short_leases, {"lease_s": 2, "beat_s": 0.5}
    killed = start(result_cache=True, **short)
    first = submit_act(Act.WAIT)
    eventually(lambda: status_of(store, first) is Status.RUNNING)
    second = submit_act(Act.WAIT)
    eventually(lambda: attempt_of(store, second) == 1)
    eventually(lambda: status_of(store, second) is Status.QUEUED)
    start(result_cache=True, **short)
    killed.signal(signal.SIGKILL)
    (tmp_path / GO).touch()

    def reaped() -> bool:
        store.runs.reap()
        return all(status_of(store, job) is Status.SUCCEEDED for job in (first, second))

    eventually(reaped)
    # The other one copies the result of the first to end, unless it ran at the same time.
    assert not all(store.get(job.tenant, job.id).cached for job in (first, second))


@pytest.mark.usefixtures("redis")
def test_all_children_of_a_killed_worker_die(start: Start) -> None:
    worker = start()
    family = descendants(worker.pid)
    assert len(family) >= 2
    os.kill(worker.pid, signal.SIGKILL)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family), 5)


def test_a_message_of_another_version_is_ignored(
    start: Start, submit_act: Submit, store: JobStore, celery: Celery
) -> None:
    worker = start()
    job, other = submit_act(Act.INVERT), submit_act(Act.INVERT)
    celery.send_task(RESTORE_TASK, args=[job.id], kwargs={"colour": "red"}, queue=DOORBELLS)
    celery.send_task(RESTORE_TASK, args=[job.id, 2], queue=DOORBELLS)
    celery.send_task("facemend.of_another_version", args=[job.id], queue=DOORBELLS)
    eventually(lambda: worker.log_tail(100).count("a message of another version is ignored") == 2)
    assert [status_of(store, each) for each in (job, other)] == [Status.QUEUED] * 2
    Doorbell(celery).ring(job.id, QueueName(MODEL, Priority.NORMAL))
    Doorbell(celery).ring(other.id, QueueName(MODEL, Priority.NORMAL))
    eventually(lambda: all(status_of(store, each) is Status.SUCCEEDED for each in (job, other)))


@pytest.mark.usefixtures("dispatcher")
def test_the_metrics_of_the_engine_are_among_those_of_the_worker(
    start: Start, submit_act: Submit, store: JobStore
) -> None:
    port = free_port()
    start(metrics_port=port)
    job = submit_act(Act.INVERT)
    eventually(lambda: status_of(store, job) is Status.SUCCEEDED)
    metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    assert 'facemend_batch_faces_sum{model="scripted"} 2.0' in metrics
    assert 'facemend_jobs_ended_total{code="",model="scripted",status="succeeded"} 1.0' in metrics


@pytest.mark.usefixtures("dispatcher")
@pytest.mark.parametrize(("act", "reason"), [("fail", "internal"), ("crash", "crashed")])
def test_jobs_do_not_suffer_from_a_shadow_that_fails_or_ends_the_engine_process(
    start: Start, submit_act: Submit, store: JobStore, redis: Redis, *, act: str, reason: str
) -> None:
    worker = start(shadow_model=act, shadow_share=1)
    worker.wait_until(lambda: f"{act} runs in the shadow" in worker.log_tail(200), timeout_s=30)
    jobs = [submit_act(Act.SLEEP) for _ in range(3)]
    eventually(lambda: all(status_of(store, job) is Status.SUCCEEDED for job in jobs))
    sums = ShadowSums(store.scripts)
    eventually(lambda: (record := sums.latest(act, MODEL)) and reason in record.failed)
    after = submit_act(Act.INVERT)
    eventually(lambda: status_of(store, after) is Status.SUCCEEDED)
    for job in (*jobs, after):
        assert spent(redis, job) == {}
        result = store.get(job.tenant, job.id).result or {}
        assert (result["model"]["name"], result["model"]["sha256"]) == (MODEL, "0" * 64)
        assert attempt_of(store, job) == 1
    assert worker.running


@pytest.mark.usefixtures("redis")
def test_an_idle_worker_that_lost_its_engine_exits(start: Start) -> None:
    worker = start("load_once")
    engines = [pid for pid in descendants(worker.pid) if is_engine(pid)]
    for pid in reversed(engines):  # the spare first, because it replaces the other one at once
        os.kill(pid, signal.SIGKILL)
        eventually(functools.partial(is_dead, pid))
    eventually(lambda: not worker.running)
    assert worker.exit_code == 4
    assert "the weights are not what they were" in worker.log_tail(1000)


def is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def is_engine(pid: int) -> bool:
    return "worker.engine_process" in Path(f"/proc/{pid}/cmdline").read_text()
