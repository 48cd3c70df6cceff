"""``facemend rebuild``: after the loss of Redis, all unfinished jobs and all API keys again."""

from __future__ import annotations

import sys
from collections import Counter

import click

from shared.jobs.recovery import Revival
from shared.jobs.store import JobStore
from shared.manifests.installation import Installation
from shared.redis.client import connect
from shared.settings import load_settings
from shared.storage.bucket import ObjectStorage
from shared.tenants.api_keys import KeyRing
from worker.commands.failure import EXIT_PHOTO_FAILED, errors_as_exit_codes
from worker.notifier.key_backup import KeyCopies
from worker.notifier.rebuilder import Rebuilder

_WORDS = {
    Revival.QUEUED: "in the queue again",
    Revival.SUCCEEDED: "were done, and are so again",
    Revival.OLDER: "to be retried once more",
    Revival.KNOWN: "were there",
    Revival.SUPERSEDED: "sent again meanwhile, under another id",
    Revival.ERASED: "erased",
    None: "with a manifest that cannot be read; see the log",
}


@click.command()
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
def rebuild(*, dry_run: bool) -> None:
    """Make the records of unfinished jobs again, after Redis was lost or put back in time.

    Each job has a manifest in the object storage until it has ended; API keys have a copy there.
    Jobs keep their ids, their age and their Idempotency-Keys; what is there already stays as it is.
    So it can be run again, by two at once, and while the service works. It needs
    FACEMEND_REDIS_URL, the FACEMEND_S3_ settings and FACEMEND_API_KEY_PEPPER, as the API has them.
    """
    with errors_as_exit_codes():
        came = _rebuild(dry_run=dry_run)
    if dry_run:
        click.echo("Nothing was changed. It would be:")
    for what, words in _WORDS.items():
        if came[what] or what is Revival.QUEUED:
            click.echo(f"{came[what]:8}  {words}")
    if came[None]:
        sys.exit(EXIT_PHOTO_FAILED)


def _rebuild(*, dry_run: bool) -> Counter[Revival | None]:
    settings = load_settings()
    client = connect(settings)
    store, storage = JobStore(client, settings), ObjectStorage(settings)
    keys = KeyRing(client, settings.api_key_pepper)
    installation = Installation(store.recovery, storage)
    store.check_policy()
    installation.check_adoptable()
    if not dry_run:
        restored = KeyCopies(keys, storage, installation).restore()
        click.echo(f"{restored:8}  API keys restored")
    came = Rebuilder(store, storage).all(dry_run=dry_run, on_progress=_tell)
    if not dry_run:
        # Last: from now on, objects whose jobs nobody knows are swept.
        installation.adopt()
    return came


def _tell(done: int, total: int) -> None:
    click.echo(f"{done} of {total} manifests", err=True)
