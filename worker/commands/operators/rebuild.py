"""``facemend rebuild``: restores unfinished jobs and API keys after Redis was lost."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import click

from shared.jobs.recovery import RecoveryResult
from shared.jobs.store import JobStore
from shared.manifests.installation import Installation
from shared.redis.client import connect
from shared.redis.scripts import Scripts
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage
from shared.tenants.api_keys import KeyRing
from worker.commands.exit_codes import (
    EXIT_PHOTO_FAILED,
    EXIT_UNAVAILABLE,
    errors_as_exit_codes,
    exit_codes_help,
)
from worker.commands.operators.service_settings import data_option, service_settings
from worker.notifier.key_backup import KeyBackup
from worker.notifier.rebuilder import Rebuilder

_WORDS = {
    RecoveryResult.QUEUED: "queued again",
    RecoveryResult.SUCCEEDED: "restored as succeeded",
    RecoveryResult.OLDER: "waiting to be retried again",
    RecoveryResult.KNOWN: "already in Redis",
    RecoveryResult.SUPERSEDED: "replaced by a repeated request with another id",
    RecoveryResult.ERASED: "erased",
    None: "with an unreadable manifest; see the log",
}


_EPILOG = exit_codes_help(
    EXIT_UNAVAILABLE, ok="all is restored", failed="a manifest cannot be read, or another failure"
)


@click.command(epilog=_EPILOG)
@click.option("--dry-run", is_flag=True, help="Only show what would be restored.")
@data_option
def rebuild(*, dry_run: bool, data: Path | None) -> None:
    """Restore unfinished jobs and API keys after Redis was lost or restored from a backup.

    The object storage has a manifest of each unfinished job and a copy of the API keys. Restored
    jobs keep their ids, their ages and their Idempotency-Keys. Jobs and keys that Redis still has
    do not change. So you can run the command again, twice at the same time, and while the service
    runs. It needs the same FACEMEND_REDIS_URL, FACEMEND_S3_ settings and FACEMEND_API_KEY_PEPPER as
    the API; or --data, for facemend up.
    """
    with errors_as_exit_codes(), service_settings(data, with_s3=True) as settings:
        came = _rebuild(settings, dry_run=dry_run)
    if dry_run:
        click.echo("Nothing was changed. A run without --dry-run would give:")
    for what, words in _WORDS.items():
        if came[what] or what is RecoveryResult.QUEUED:
            click.echo(f"{came[what]:8}  {words}")
    if came[None]:
        sys.exit(EXIT_PHOTO_FAILED)


def _rebuild(settings: Settings, *, dry_run: bool) -> Counter[RecoveryResult | None]:
    scripts = Scripts(connect(settings))
    store, storage = JobStore(scripts, settings), ObjectStorage(settings)
    keys = KeyRing(scripts, settings.api_key_pepper)
    installation = Installation(store.recovery, storage)
    store.check_policy()
    installation.check_adoptable()
    if not dry_run:
        restored = KeyBackup(keys, storage, installation).restore()
        click.echo(f"{restored:8}  API keys restored")
    came = Rebuilder(store, storage).restore_all(dry_run=dry_run, on_progress=_show_progress)
    if not dry_run:
        # Last, because from now on the sweeper deletes objects of unknown jobs.
        installation.adopt()
    return came


def _show_progress(done: int, total: int) -> None:
    click.echo(f"{done} of {total} manifests", err=True)
