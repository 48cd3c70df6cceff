"""``facemend jobs``: what operators do with jobs, whoever their tenants are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from shared.errors import Conflict
from shared.jobs.job import Job, Status
from shared.jobs.pools import Pools
from shared.jobs.queues import QueueName
from shared.jobs.record import as_new
from shared.jobs.store import JobStore
from shared.manifests.manifests import Manifests
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.tenants.pins import Pins
from worker.commands.exit_codes import EXIT_UNAVAILABLE, errors_as_exit_codes, exit_codes_help
from worker.commands.operators.service_settings import data_option, service_settings

_EPILOG = exit_codes_help(EXIT_UNAVAILABLE)
_MOST = 1_000
_json_option = click.option("--json", "as_json", is_flag=True, help="JSON for programs.")


@click.group(epilog=_EPILOG)
def jobs() -> None:
    """List, show, retry and cancel jobs of all tenants.

    For operators: it reads and changes the records in Redis (FACEMEND_REDIS_URL), without an API
    key.
    """


@jobs.command(name="list", epilog=_EPILOG)
@click.option("--tenant", help="Only this tenant's, newest first.")
@click.option("--status", type=click.Choice([str(status) for status in Status]), help="Only these.")
@click.option("--model", help="Only those of this model.")
@click.option(
    "--limit", type=click.IntRange(1, _MOST), default=20, show_default=True, help="How many."
)
@_json_option
@data_option
def list_(  # noqa: PLR0917  # click passes them by name
    tenant: str | None,
    status: str | None,
    model: str | None,
    limit: int,
    as_json: bool,
    data: Path | None,
) -> None:
    """Show jobs, newest first. Without --tenant, those that run, wait, or ended last."""
    with _store(data) as store:
        wanted = Status(status) if status else None
        found = _of_all(store, wanted, limit) if tenant is None else []
        if tenant is not None:
            found, _ = store.page(tenant, status=wanted, model=model, limit=limit)
    found = [job for job in found if model in {None, job.model}]
    found.sort(key=lambda job: job.created_at, reverse=True)
    _show(found[:limit], as_json=as_json)


@jobs.command(epilog=_EPILOG)
@click.argument("job_id")
@_json_option
@data_option
def show(job_id: str, as_json: bool, data: Path | None) -> None:
    """Show all that the record of a job has; no photo and no presigned URL."""
    with _store(data) as store:
        job, key_id = store.find(job_id)
    content = _as_dict(job) | {"key_id": key_id}
    if as_json:
        click.echo(json.dumps(content, indent=2))
        return
    for name, value in content.items():
        if value not in (None, "", [], {}):
            shown = value if isinstance(value, str) else json.dumps(value)
            click.echo(f"{name:16} {shown}")


@jobs.command(epilog=_EPILOG)
@click.argument("job_ids", nargs=-1, required=True)
@data_option
def cancel(job_ids: tuple[str, ...], data: Path | None) -> None:
    """Cancel queued jobs at once, and ask running jobs to stop."""
    with _store(data) as store:
        for job_id in job_ids:
            job, _ = store.find(job_id)
            after = store.cancel(job.tenant, job_id)
            click.echo(f"{job_id} {'stops soon' if after.cancel_requested else after.status}")


@jobs.command(epilog=_EPILOG)
@click.argument("job_ids", nargs=-1, required=True)
@data_option
def retry(job_ids: tuple[str, ...], data: Path | None) -> None:
    """Queue failed and canceled jobs once more, as if they were new."""
    with errors_as_exit_codes(), service_settings(data, with_s3=True) as settings:
        for job_id in job_ids:
            click.echo(f"{job_id} {_retry(settings, job_id).status}")


def _retry(settings: Settings, job_id: str) -> Job:
    """Write the next manifest, then change the record; the dispatcher rings within a second."""
    store, storage = JobStore.connect(settings), ObjectStorage(settings)
    job, key_id = store.find(job_id)
    if job.status not in {Status.FAILED, Status.CANCELED}:
        raise Conflict(f"The job is {job.status}. Only failed and canceled jobs can be retried.")
    if "key" in job.source:
        storage.head(job.source["key"])
    pool = _pool_for(store, job)
    new = replace(as_new(job, key_id), pool=pool)
    store.check_room(job.tenant, QueueName.of(new))
    Manifests(storage).write(new, job.generation + 1)
    return store.retry(job.tenant, job_id, job.generation, pool=pool)


def _pool_for(store: JobStore, job: Job) -> str:
    """Return the pool for a job, as the API would choose it now. Raises InvalidRequest."""
    pools = Pools(store.settings.model_pools)
    pin = Pins(store.scripts).all().get(job.tenant)
    pool = pools.choose(job.model, pin, store.workers.serving)
    pools.check(job.model, pool)
    return pool


@contextmanager
def _store(data: Path | None) -> Iterator[JobStore]:
    with errors_as_exit_codes(), service_settings(data) as settings:
        yield JobStore.connect(settings)


def _of_all(store: JobStore, status: Status | None, limit: int) -> list[Job]:
    statuses = [status] if status else list(Status)
    return [job for each in statuses for job in store.latest(each, limit)]


def _show(found: list[Job], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([_as_dict(job) for job in found], indent=2))
        return
    for job in found:
        code = (job.error or {}).get("code", "")
        made = datetime.fromtimestamp(job.created_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        click.echo(f"{job.id}  {made}  {job.status:9}  {job.tenant}  {job.model}  {code}".rstrip())


def _as_dict(job: Job) -> dict[str, Any]:
    """Return the record. The address of a photo may hold a secret, so only its host is kept."""
    content = asdict(job)
    if "url" in content["source"]:
        content["source"] = {"url": content["source"]["url"].split("?")[0]}
    content["request"].pop("input", None)
    if content["request"].get("webhook"):
        content["request"]["webhook"]["url"] = content["request"]["webhook"]["url"].split("?")[0]
    return content
