"""Turns a batch and its items into the resources that clients see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from shared.batches.batch import Batch, BatchItem
from shared.contract import batches as resources
from shared.contract.rendering import represent
from shared.contract.restorations import Problem
from shared.storage.bucket import Storage


def represent_batch(batch: Batch, storage: Storage) -> resources.Batch:
    """Return the resource. Its URLs are presigned now."""
    results = batch.results or {}
    return resources.Batch(
        id=batch.id,
        status=batch.status,
        created_at=datetime.fromtimestamp(batch.created_at, UTC),
        started_at=_instant(batch.started_at),
        finished_at=_instant(batch.finished_at),
        expires_at=_instant(batch.expires_at),
        counts=resources.BatchCounts(total=batch.total, **asdict(batch.counts)),
        eta_s=batch.eta_s,
        manifest=_file(results.get("manifest"), f"{batch.id}.jsonl", storage),
        archive=_file(results.get("archive"), f"{batch.id}.zip", storage),
    )


def represent_item(item: BatchItem, batch: Batch, storage: Storage) -> resources.BatchItem:
    """Return the resource of an item of ``batch``."""
    restoration = None if item.job is None else represent(item.job, storage)
    return resources.BatchItem(
        index=item.index,
        status=_status(item, batch),
        restoration_id=item.job_id,
        restoration=restoration,
        error=None if item.problem is None else Problem.model_validate(item.problem),
    )


def represent_line(
    item: BatchItem, batch: Batch, *, file: str | None
) -> resources.BatchManifestLine:
    """Return the line of the manifest for an item of a batch that has ended."""
    job = item.job
    problem = item.problem if job is None else job.error
    result = (job and job.result) or {}
    image = result.get("image")
    return resources.BatchManifestLine(
        index=item.index,
        status=_status(item, batch),
        restoration_id=item.job_id,
        input=job and job.request.get("input"),
        metadata=job.request.get("metadata", {}) if job else {},
        file=file,
        image=image and resources.BatchPicture.model_validate(image),
        faces_restored=sum(face["status"] == "restored" for face in result.get("faces", ())),
        error=None if problem is None else Problem.model_validate(problem),
    )


def _status(item: BatchItem, batch: Batch) -> Any:
    if item.job is not None:
        return item.job.status.value
    if item.problem is not None:
        return "rejected"
    return "queued" if batch.created < batch.total - batch.counts.rejected else "erased"


def _file(
    stored: Mapping[str, Any] | None, name: str, storage: Storage
) -> resources.BatchFile | None:
    if stored is None:
        return None
    url, expires_at = storage.presign(stored["key"], filename=name)
    return resources.BatchFile(
        url=url, key=stored["key"], bytes=stored["bytes"], url_expires_at=expires_at
    )


def _instant(unix_s: float | None) -> datetime | None:
    return None if unix_s is None else datetime.fromtimestamp(unix_s, UTC)
