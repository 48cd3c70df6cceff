"""The whole worker process: rung through Celery, stopped, killed, and found to be at fault."""

from __future__ import annotations

import functools
import io
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from celery import Celery
from PIL import Image
from redis import Redis

from deploy.embedded.child_process import Child, free_port
from shared.jobs.job import Job, Priority, Status
from shared.jobs.store import JobStore
from shared.queue.celery_queue import RESTORE_TASK, Doorbell, make_celery, restore_queue
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from tests.waiting import eventually
from tests.worker.engine_process.restorers import Act
from tests.worker.scripted import MODEL

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).resolve().parents[2]
Start = Callable[..., Child]
Submit = Callable[[Act], Job]


@pytest.fixture
def start(stack_settings: dict[str, Any], tmp_path: Path) -> Iterator[Start]:
    """Start a worker that runs ``load`` of the obedient restorers; it is ready on return."""
    children: list[Child] = []

    def start(load: str = "load_restorers", **changes: Any) -> Child:
        settings = {**stack_settings, "drain_s": 3, "models_dir": tmp_path, **changes}
        env = {f"FACEMEND_{name.upper()}": str(value) for name, value in settings.items()}
        child = Child(
            f"worker-{len(children)}",
            [sys.executable, "-m", "tests.worker.serving", load],
            folder=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **env},
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
            for due in store.due():
                doorbell.ring(due.id, due.model, due.priority)

    thread = threading.Thread(target=ring)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.fixture
def order(submit: Callable[..., Job], storage: ObjectStorage) -> Submit:
    """Accept a job whose photo orders an act."""

    def order(act: Act) -> Job:
        file = io.BytesIO()
        Image.new("RGB", (48, 48), (act, act, act)).save(file, "PNG")
        key = f"tenants/acme/files/{act.name}.png"
        storage.put(key, file.getvalue(), "image/png")
        return submit(source={"key": key})

    return order


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
def test_a_photo_crosses_three_processes_and_none_but_the_worker_knows_a_secret(
    start: Start, order: Submit, store: JobStore, stack_settings: dict[str, Any]
) -> None:
    worker = start()
    job = order(Act.INVERT)
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
def test_a_photo_that_crashes_the_engine_is_condemned_after_two_crashes_and_no_other_job(
    start: Start, order: Submit, store: JobStore
) -> None:
    worker = start()
    bystander, poison = order(Act.REST), order(Act.CRASH)
    good = [order(Act.INVERT) for _ in range(3)]
    eventually(lambda: all(status_of(store, job).terminal for job in [bystander, poison, *good]))
    failed = store.get(poison.tenant, poison.id)
    assert (failed.status, failed.error and failed.error["code"]) == (Status.FAILED, "poisoned")
    assert [status_of(store, job) for job in [bystander, *good]] == [Status.SUCCEEDED] * 4
    assert worker.log_tail(1000).count("SIGSEGV") == 2
    assert worker.running


@pytest.mark.usefixtures("dispatcher")
def test_stopped_it_gives_back_what_it_cannot_finish_and_no_budget_is_spent(
    start: Start, order: Submit, store: JobStore, redis: Redis
) -> None:
    worker = start(drain_s=2)
    endless, short = order(Act.GO_ON_AND_ON), order(Act.REST)
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
def test_a_job_that_does_not_listen_cannot_keep_it_from_ending(
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
def test_three_jobs_that_crash_it_one_after_the_other_make_it_leave_and_are_absolved(
    start: Start, order: Submit, store: JobStore, redis: Redis
) -> None:
    worker = start(jobs_in_flight=4)
    jobs = [order(Act.CRASH) for _ in range(4)]
    eventually(lambda: not worker.running, 60)
    assert worker.exit_code == 4
    assert "takes itself out" in worker.log_tail(50)
    queued = [job for job in jobs if status_of(store, job) is Status.QUEUED]
    assert len(queued) >= 2
    assert not [job for job in queued if "spent_crash" in spent(redis, job)]


@pytest.mark.usefixtures("dispatcher")
def test_a_child_that_cannot_start_again_charges_nobody(
    start: Start, order: Submit, store: JobStore, redis: Redis
) -> None:
    worker = start("load_once")
    job = order(Act.CRASH)
    eventually(lambda: not worker.running)
    assert worker.exit_code == 4
    assert status_of(store, job) is Status.QUEUED
    assert spent(redis, job) == {"spent_drain": "1"}


@pytest.mark.usefixtures("redis")
def test_killed_it_takes_its_children_along(start: Start) -> None:
    worker = start()
    family = descendants(worker.pid)
    assert len(family) >= 2
    os.kill(worker.pid, signal.SIGKILL)
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in family), 5)


def test_a_message_of_another_version_is_left_to_others_and_fails_nothing(
    start: Start, order: Submit, store: JobStore, celery: Celery
) -> None:
    worker = start()
    job, other = order(Act.INVERT), order(Act.INVERT)
    queue = restore_queue(MODEL, Priority.NORMAL)
    celery.send_task(RESTORE_TASK, args=[job.id], kwargs={"colour": "red"}, queue=queue)
    celery.send_task(RESTORE_TASK, args=[job.id, 2], queue=queue)
    celery.send_task("facemend.of_another_version", args=[job.id], queue=queue)
    eventually(lambda: worker.log_tail(100).count("left to others") == 2)
    assert [status_of(store, each) for each in (job, other)] == [Status.QUEUED] * 2
    Doorbell(celery).ring(job.id, MODEL, Priority.NORMAL)
    Doorbell(celery).ring(other.id, MODEL, Priority.NORMAL)
    eventually(lambda: all(status_of(store, each) is Status.SUCCEEDED for each in (job, other)))


@pytest.mark.usefixtures("dispatcher")
def test_what_the_engine_counts_is_among_the_workers_metrics(
    start: Start, order: Submit, store: JobStore
) -> None:
    port = free_port()
    start(metrics_port=port)
    job = order(Act.INVERT)
    eventually(lambda: status_of(store, job) is Status.SUCCEEDED)
    metrics = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    assert 'facemend_batch_faces_sum{model="scripted"} 2.0' in metrics
    assert 'facemend_jobs_ended_total{code="",model="scripted",status="succeeded"} 1.0' in metrics


@pytest.mark.usefixtures("redis")
def test_a_worker_whose_engine_is_lost_while_nobody_asks_for_it_leaves_too(start: Start) -> None:
    worker = start("load_once")
    engines = [pid for pid in descendants(worker.pid) if is_engine(pid)]
    for pid in reversed(engines):  # the spare first: it takes over as soon as the other is dead
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
