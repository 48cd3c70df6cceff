"""Where photos come from and where results go: folders, or prefixes of buckets."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facemend.folder.photos import PhotoFolder
from facemend.folder.record import Record, Version, version_of_file
from facemend.folder.result_names import ResultNames
from facemend.folder.results import RECORD_NAME, FolderResults
from shared.errors import BucketMissing, SettingsInvalid, Unavailable
from worker.commands.watch.folder_inbox import FolderInbox
from worker.commands.watch.location import Location
from worker.commands.watch.source import Source

if TYPE_CHECKING:
    from shared.storage.bucket import ObjectStorage
    from worker.commands.watch.bucket_inbox import BucketInbox
    from worker.commands.watch.bucket_results import BucketResults

_LOCK_NAME = ".facemend-watch.lock"
_RECORD_OPTIONS = "watch"  # other options do not make a photo a new one
Place = Path | Location


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What the command line says. ``failed``: None for ``failed`` in ``inbox``."""

    inbox: Place
    output: Place
    failed: Place | None
    recursive: bool
    settle_s: float


@dataclass(frozen=True, slots=True)
class Places:
    """What the loop works with; results are written into ``output`` first."""

    inbox: Source
    output: Path
    record: Record
    names: ResultNames
    show_result: Callable[[Path], str]


@contextmanager
def opened(chosen: Chosen) -> Iterator[Places]:
    """Yield the places of a command, which then belong to it alone.

    Raises SettingsInvalid if they do not fit together or cannot be used, and Unavailable.
    """
    _check(chosen)
    with ExitStack() as stack:
        made = tempfile.TemporaryDirectory(prefix="facemend-watch-")
        scratch = Path(stack.enter_context(made))
        results = _results(chosen.output, scratch / "results", stack)
        inbox, version_of = _inbox(chosen, scratch / "photos")
        record = Record(results, _RECORD_OPTIONS, version_of)
        names = ResultNames([results.folder / RECORD_NAME, *record.results()])
        show = str if isinstance(results, FolderResults) else results.shown
        yield Places(inbox, results.folder, record, names, show)


def _check(chosen: Chosen) -> None:
    inbox, output, failed = chosen.inbox, chosen.output, chosen.failed
    if failed is not None and isinstance(failed, Path) is not isinstance(inbox, Path):
        raise click.UsageError("--failed must be of the kind of IN: a folder, or s3://…")
    if isinstance(inbox, Path):
        return
    if isinstance(failed, Location) and failed.bucket != inbox.bucket:
        raise click.UsageError("--failed must be in the bucket of IN.")
    if isinstance(output, Location) and output.contains(inbox):
        raise SettingsInvalid(f"{output}: the results need a prefix of their own, not around IN")


def _results(output: Place, scratch: Path, stack: ExitStack) -> FolderResults | BucketResults:
    if isinstance(output, Path):
        output.mkdir(parents=True, exist_ok=True)
        stack.enter_context(_alone_in(output))
        return FolderResults(output)
    from worker.commands.watch.bucket_results import BucketResults

    scratch.mkdir()
    return BucketResults(_storage(output), output, scratch)


def _inbox(chosen: Chosen, scratch: Path) -> tuple[Source, Callable[[Path], Version]]:
    if isinstance(chosen.inbox, Path):
        return _folder_inbox(chosen, chosen.inbox), version_of_file
    inbox = _bucket_inbox(chosen, chosen.inbox, scratch)
    return inbox, inbox.version_of


def _folder_inbox(chosen: Chosen, folder: Path) -> FolderInbox:
    aside = chosen.failed if isinstance(chosen.failed, Path) else folder / "failed"
    without: tuple[Path, ...] = (aside,)
    if isinstance(chosen.output, Path):
        if chosen.output.samefile(folder):
            raise SettingsInvalid(f"{chosen.output}: the results need a folder of their own")
        without = (chosen.output, aside)
    return FolderInbox(PhotoFolder(folder, chosen.recursive, without), aside, chosen.settle_s)


def _bucket_inbox(chosen: Chosen, location: Location, folder: Path) -> BucketInbox:
    from worker.commands.watch.bucket_inbox import BucketInbox

    aside = chosen.failed if isinstance(chosen.failed, Location) else location.below("failed")
    output = chosen.output
    without = (output,) if isinstance(output, Location) and location.contains(output) else ()
    return BucketInbox(_storage(location), location, aside, folder, chosen.recursive, without)


def _storage(location: Location) -> ObjectStorage:
    """Connect to a bucket, and look whether it can be read."""
    from boto3.session import Session

    from shared.settings import load_settings
    from shared.storage.bucket import ObjectStorage

    settings = load_settings(s3_bucket=location.bucket)
    if not settings.s3_access_key_id and Session().get_credentials() is None:
        raise SettingsInvalid(
            f"{location} needs credentials: set FACEMEND_S3_ACCESS_KEY_ID and "
            "FACEMEND_S3_SECRET_ACCESS_KEY, or those of AWS (AWS_ACCESS_KEY_ID, AWS_PROFILE)"
        )
    where = settings.s3_endpoint_url or "AWS"
    storage = ObjectStorage(settings)
    try:
        next(iter(storage.list(location.prefix)), None)
    except BucketMissing:
        raise SettingsInvalid(
            f"{where} has no bucket {location.bucket}: create it, or set FACEMEND_S3_ENDPOINT_URL"
        ) from None
    except Unavailable as error:
        raise Unavailable(f"{location} at {where}: {error.detail}") from None
    return storage


@contextmanager
def _alone_in(output: Path) -> Iterator[None]:
    """Two commands that write to one folder would do each photo twice."""
    with (output / _LOCK_NAME).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsInvalid(f"another facemend watch writes to {output}") from None
        yield
