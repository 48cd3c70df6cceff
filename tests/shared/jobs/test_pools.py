"""Pools: which pool gets a job, and that its workers alone run it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from redis import Redis

from shared.batches.batch import NewBatch
from shared.errors import InvalidRequest
from shared.jobs.job import Priority, Release, new_id
from shared.jobs.pools import DEFAULT_POOL, ModelInPool, Pools
from shared.jobs.queues import QueueName
from shared.jobs.recovery import Manifest
from shared.jobs.runs import DueJob
from shared.jobs.store import JobStore
from shared.jobs.workers import ServedModel
from shared.manifests.batches import BatchManifests
from shared.manifests.manifests import Manifests
from shared.storage.bucket import ObjectStorage
from tests.shared.conftest import BROKEN, NewJobs, Stores

STARTER = ServedModel("starter", "e" * 64, 128, "Apache-2.0", "fp32", "torch", 500.0)
POOLS = Pools({"big": ("h100", "a10"), "small": ("cpu",)})


def nobody(_: Sequence[ModelInPool]) -> list[ModelInPool]:
    return []


def everybody(models: Sequence[ModelInPool]) -> list[ModelInPool]:
    return [*models]


@pytest.fixture
def gpu(store_with: Stores) -> JobStore:
    """The store as a worker in the pool ``gpu`` has it."""
    return store_with(pool="gpu")


@pytest.mark.parametrize(
    ("model", "pin", "pool"),
    [
        ("unnamed", None, DEFAULT_POOL),
        ("unnamed", "eu", "eu"),
        ("small", None, "cpu"),
        ("big", None, "h100"),
        ("big", "a10", "a10"),
    ],
)
def test_the_pin_of_a_tenant_is_chosen_before_the_pools_of_a_model(
    model: str, pin: str | None, pool: str
) -> None:
    assert POOLS.choose(model, pin, everybody) == pool
    POOLS.check(model, pool)


def test_of_several_pools_the_first_with_a_live_worker_is_chosen_and_else_the_first(
    store: JobStore,
) -> None:
    pools = Pools({"starter": ("h100", "a10", "cpu")})
    assert pools.choose("starter", None, store.workers.serving) == "h100"
    store.workers.announce("w-1", [STARTER], pool="cpu")
    assert pools.choose("starter", None, store.workers.serving) == "cpu"
    store.workers.announce("w-2", [STARTER], pool="a10")
    assert pools.choose("starter", None, store.workers.serving) == "a10"
    store.workers.announce("w-3", [replace(STARTER, name="other")], pool="h100")
    assert pools.choose("starter", None, store.workers.serving) == "a10"
    store.workers.forget("w-2")
    assert pools.choose("starter", None, store.workers.serving) == "cpu"


def test_a_pool_that_the_model_does_not_name_is_refused() -> None:
    assert POOLS.choose("big", "eu", nobody) == "eu"
    with pytest.raises(InvalidRequest) as refused:
        POOLS.check("big", "eu")
    ((pointer, reason),) = refused.value.errors
    assert pointer == "/model"
    assert "h100, a10" in reason


@pytest.mark.parametrize("pool", [DEFAULT_POOL, "gpu"])
def test_names_of_models_in_pools_are_read_as_they_are_written(pool: str) -> None:
    served = ModelInPool("gpen-bfr-1.5", pool)
    assert ModelInPool.parse(str(served)) == served
    queue = QueueName("gpen-bfr-1.5", Priority.LOW, pool)
    assert QueueName.parse(str(queue)) == QueueName.of_key(queue.key) == queue


def test_the_default_pool_has_the_keys_of_versions_without_pools(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    new = store.create(new_job())
    assert redis.zrange("fm:queue:normal:starter", 0, -1) == [new.id]
    assert not redis.hexists(f"fm:job:{new.id}", "pool")
    assert QueueName.of(new).doorbells == "restore.starter.normal"
    store.workers.announce("w-1", [STARTER])
    announced = json.loads(str(redis.hget("fm:workers:models", "w-1")))
    assert "pool" not in announced[0]


def test_only_workers_of_its_pool_start_a_job(
    store: JobStore, gpu: JobStore, new_job: NewJobs
) -> None:
    new = store.create(new_job(pool="gpu"))
    assert store.runs.claim(new.id, "w-cpu") is None  # though the doorbell names the job
    claim = gpu.runs.claim(new.id, "w-gpu")
    assert claim is not None
    assert claim.job.pool == "gpu"
    (running,) = store.queues.running()
    assert running.queue == QueueName("starter", Priority.NORMAL, "gpu")


def test_a_doorbell_of_a_pool_rings_in_its_own_queue(
    store: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    new = new_job(pool="gpu")
    store.create(new, message="a doorbell")
    assert redis.lrange("restore.starter@gpu.normal", 0, -1) == ["a doorbell"]
    redis.delete("restore.starter@gpu.normal")
    redis.zadd("fm:due:normal:starter@gpu", {new.id: 0})
    assert store.runs.due() == [DueJob(new.id, QueueName.of(new))]


def test_a_released_and_a_lost_job_return_to_the_queue_of_their_pool(
    store: JobStore, gpu: JobStore, new_job: NewJobs, redis: Redis
) -> None:
    new = store.create(new_job(pool="gpu"))
    claim = gpu.runs.claim(new.id, "w")
    assert claim is not None
    gpu.runs.release(new.id, claim.token, Release.DRAIN)
    assert redis.zrange("fm:queue:normal:starter@gpu", 0, -1) == [new.id]
    assert gpu.runs.claim(new.id, "w")
    redis.zadd("fm:leases", {new.id: 0})
    store.runs.reap()
    assert redis.zrange("fm:queue:normal:starter@gpu", 0, -1) == [new.id]
    assert gpu.runs.claim(new.id, "w")


def test_a_retry_may_go_to_another_pool(store: JobStore, gpu: JobStore, new_job: NewJobs) -> None:
    new = store.create(new_job(pool="gpu"))
    claim = gpu.runs.claim(new.id, "w")
    assert claim is not None
    gpu.runs.finish(new.id, claim.token, BROKEN)
    assert store.retry("acme", new.id, pool="eu").pool == "eu"
    assert gpu.runs.claim(new.id, "w") is None
    store.cancel("acme", new.id)
    assert store.retry("acme", new.id).pool == DEFAULT_POOL
    assert store.runs.claim(new.id, "w")


def test_a_record_is_restored_into_its_pool(
    store: JobStore, gpu: JobStore, new_job: NewJobs
) -> None:
    new = new_job(pool="gpu")
    lost = Manifest(
        new.id, new.tenant, new.model, new.priority, new.spec, None, 1, "", "", pool=new.pool
    )
    store.recovery.restore(lost, age_s=1)
    assert store.get("acme", new.id).pool == "gpu"
    assert gpu.runs.claim(new.id, "w")


def test_manifests_of_jobs_and_batches_have_the_pool_and_old_ones_mean_the_default(
    new_job: NewJobs, storage: ObjectStorage
) -> None:
    manifests, batches = Manifests(storage), BatchManifests(storage)
    manifests.write(new_job(pool="gpu"))
    items = [new_job(pool="gpu"), new_job()]
    batches.write(NewBatch(id=new_id("bat"), tenant="acme", key_id="key_1", items=items))
    (ref,), (batch_ref,) = manifests.all(), batches.all()
    manifest, batch = manifests.read(ref), batches.read(batch_ref)
    assert manifest is not None
    assert batch is not None
    assert manifest.pool == "gpu"
    assert [job.pool for job in batch.jobs] == ["gpu", DEFAULT_POOL]
    written = json.loads(storage.get(ref.key, max_bytes=10_000))
    del written["pool"]
    storage.put(ref.key, json.dumps(written).encode(), "application/json")
    old = manifests.read(ref)
    assert old is not None
    assert old.pool == DEFAULT_POOL


def test_counts_load_and_waiting_times_are_those_of_the_pool(
    store: JobStore, gpu: JobStore, new_job: NewJobs
) -> None:
    store.workers.announce("w-1", [replace(STARTER, ms_per_face=100.0)], pool="gpu")
    store.workers.announce("w-2", [STARTER])
    first, second = store.create(new_job(pool="gpu")), store.create(new_job(pool="gpu"))
    store.create(new_job())
    counts, load = store.counts(), store.load()
    assert (counts["queued.starter@gpu.normal"], counts["queued.starter.normal"]) == (2, 1)
    assert load.waiting_s == {
        ModelInPool("starter", "gpu"): 0.2,
        ModelInPool("starter"): 0.5,
    }
    assert gpu.runs.claim(first.id, "w-1")
    assert store.load().running_s == {ModelInPool("starter", "gpu"): 0.1}
    assert store.get("acme", second.id).queue_position == 1
    store.workers.forget("w-1")
    assert store.get("acme", second.id).queue_eta_reason == "no-worker"


def test_a_queue_of_a_pool_is_paused_alone(
    store: JobStore, gpu: JobStore, new_job: NewJobs
) -> None:
    ours, other = store.create(new_job(pool="gpu")), store.create(new_job())
    store.queues.pause(QueueName.of(ours))
    assert store.queues.paused() == {QueueName.of(ours)}
    assert gpu.runs.claim(ours.id, "w") is None
    assert store.runs.claim(other.id, "w")


def test_a_model_that_two_pools_serve_is_listed_once(store: JobStore) -> None:
    store.workers.announce("w-1", [STARTER], pool="gpu")
    store.workers.announce("w-2", [STARTER])
    assert [model.name for model in store.workers.served_models()] == ["starter"]
    assert [worker.pool for worker in store.workers.live()] == ["gpu", DEFAULT_POOL]
