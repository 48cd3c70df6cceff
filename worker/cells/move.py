"""Moves a tenant from one cell to another, so that nothing is lost and nothing runs twice.

1. *Close.* The source refuses the tenant's changes with 503 and Retry-After. Its jobs that wait are
   taken out of their queues, and those that run may end.
2. *Copy.* Records and objects are copied and compared, until both cells have the same. In the
   target they are in no queue and no list yet.
3. *Switch.* The source is marked: from now on the target has the tenant. There its jobs join their
   queues, and its API keys are valid.
4. *Remove.* The source removes records and objects.

The state is in Redis of both cells. So a move that was interrupted goes on when it is run again,
and before the switch it can be canceled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from shared.errors import Conflict, NotFound, SettingsInvalid
from shared.jobs.store import JobStore
from shared.manifests.batches import BatchManifestRef
from shared.manifests.manifests import ManifestRef
from shared.redis.client import connect
from shared.redis.scripts import Scripts
from shared.settings import Settings
from shared.storage.bucket import ObjectStorage, StoredObject
from shared.tenants.moves import Moves, MoveState
from shared.tenants.pins import Pins
from shared.tenants.tenant_records import Record, TenantRecords, digest
from worker.cells.tenant_objects import (
    TenantObjects,
    changed_etags,
    copy_objects,
    same_content,
)
from worker.notifier.rebuilder import Rebuilder

#: A request makes no call after its deadline, which is at most so many times ``api_timeout_s``.
_LONGEST_REQUEST = 4.0
_POLL_S = 1.0
_QUIET = 2
_COPIES = 5  # rounds until both cells must have the same
_MANIFEST_BYTES = 100_000_000

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Cell:
    """One tenant in one cell."""

    settings: Settings
    store: JobStore
    storage: ObjectStorage
    records: TenantRecords
    objects: TenantObjects
    moves: Moves
    pins: Pins

    @classmethod
    def of(cls, tenant: str, settings: Settings) -> Cell:
        scripts, storage = Scripts(connect(settings)), ObjectStorage(settings)
        return cls(
            settings=settings,
            store=JobStore(scripts, settings),
            storage=storage,
            records=TenantRecords(tenant, scripts),
            objects=TenantObjects(tenant, storage),
            moves=Moves(scripts),
            pins=Pins(scripts),
        )


class TenantMove:
    """The move of one tenant. Every method raises Unavailable; call it again then."""

    def __init__(self, tenant: str, source: Settings, target: Settings, say: Say) -> None:
        """``say`` gets a line for each step. Raises SettingsInvalid for two unlike cells."""
        if source.api_key_pepper.get_secret_value() != target.api_key_pepper.get_secret_value():
            raise SettingsInvalid(
                "FACEMEND_API_KEY_PEPPER differs: the API keys of the tenant would not be valid in"
                " the other cell"
            )
        self._tenant, self._say = tenant, say
        self._source, self._target = Cell.of(tenant, source), Cell.of(tenant, target)
        if source.redis_url == target.redis_url or _bucket(source) == _bucket(target):
            raise SettingsInvalid("Two cells have two Redis servers and two buckets")

    def plan(self) -> None:
        """Say what would be moved. Raises NotFound and Conflict, as ``run`` does."""
        self._check()
        names, files = self._source.records.names(), self._source.objects.files()
        held = [name for name in names if name.count(":") == 2 and name.startswith("fm:job:")]
        self._say(f"{len(names)} records, of {len(held)} jobs")
        self._say(f"{len(files)} objects, {sum(each.bytes for each in files.values())} bytes")
        self._say(f"{len(self._source.objects.manifests())} manifests of unfinished jobs")

    def run(self, *, settle_s: float | None = None) -> None:
        """Move the tenant, or go on with a move that was interrupted.

        ``settle_s``: for how long requests and webhooks that have begun may go on; None: as the
        settings of the source say. Raises NotFound for an unknown tenant; Conflict if the target
        has a tenant of this name, or if the two copies go on to differ.
        """
        self._check()
        if self._source.moves.state(self._tenant) is not MoveState.LEFT:
            self._close(settle_s)
            self._copy()
            self._source.moves.mark(self._tenant, MoveState.LEFT)
            self._say("switched: the target has the tenant now")
        self._open(self._target)
        self._clear_source()

    def cancel(self) -> None:
        """Take a move back. Raises Conflict after the switch."""
        if self._source.moves.state(self._tenant) is not MoveState.LEAVING:
            raise Conflict(f"{self._tenant} is not on its way to another cell")
        if self._target.moves.state(self._tenant) is MoveState.ARRIVING:
            self._target.records.remove(self._target.records.names())
            objects = self._target.objects
            objects.remove([*objects.manifests(), *objects.files()])
            self._target.pins.unpin(self._tenant)
            self._target.moves.end(self._tenant)
        self._source.records.wait_to_be_admitted(self._source.records.names())
        self._open(self._source)

    # --- steps ------------------------------------------------------------------------------

    def _check(self) -> None:
        state = self._source.moves.state(self._tenant)
        if state is MoveState.ARRIVING:
            raise Conflict(f"{self._tenant} is on its way to this cell")
        if state is None and not self._source.records.names():
            raise NotFound(f"This cell has no tenant {self._tenant}")
        theirs = self._target.moves.state(self._tenant)
        known = bool(self._target.records.names())
        if state is MoveState.LEFT and not known:
            raise NotFound(f"{self._tenant} left this cell, but not for this target")
        if state is not MoveState.LEFT and (
            theirs is MoveState.LEAVING or (theirs is None and known)
        ):
            raise Conflict(f"The target has a tenant {self._tenant} already")

    def _close(self, settle_s: float | None) -> None:
        source, settings = self._source, self._source.settings
        source.moves.mark(self._tenant, MoveState.LEAVING)
        if settle_s is None:
            settle_s = max(
                _LONGEST_REQUEST * settings.api_timeout_s, settings.webhook_timeout_s + 1
            )
        source.records.hold(source.records.names())
        self._say(f"closed: {self._tenant} may change nothing; {settle_s:g} s for open requests")
        time.sleep(settle_s)
        self._restore_lost_records()
        self._wait_until_quiet()

    def _wait_until_quiet(self) -> None:
        """Hold jobs until none runs and none was in a queue, twice in a row.

        A job that ends may let others start that were held a moment before.
        """
        records, quiet, waits_for = self._source.records, 0, 0
        while quiet < _QUIET:
            held = records.hold(records.names())
            quiet = 0 if held.jobs or held.busy else quiet + 1
            if held.busy and len(held.busy) != waits_for:
                waits_for = len(held.busy)
                self._say(f"waiting for {waits_for} jobs that run")
            if held.busy:
                time.sleep(_POLL_S)

    def _restore_lost_records(self) -> None:
        """Make the records that only manifests have: then the records are all that counts."""
        rebuilder = Rebuilder(self._source.store, self._source.storage)
        for key, stored in self._source.objects.manifests().items():
            age_s = stored.age_s or 0.0
            kind, _, name, *mark = key.split("/")
            if mark:  # that an item of a batch was erased
                continue
            if kind == "batches":
                batch_id = name.removesuffix(".json")
                rebuilder.restore_batch(BatchManifestRef(self._tenant, batch_id, age_s))
            else:
                job_id, generation, _ = name.split(".")
                rebuilder.restore(ManifestRef(self._tenant, job_id, int(generation), age_s))

    def _copy(self) -> None:
        self._target.moves.mark(self._tenant, MoveState.ARRIVING)
        if pool := self._source.pins.all().get(self._tenant):
            self._target.pins.pin(self._tenant, pool)
        for _ in range(_COPIES):
            self._wait_until_quiet()
            self._copy_records({})  # first: the sweeper of the target finds the job of each object
            etags = self._copy_files()
            self._copy_manifests(etags)
            if etags:
                self._copy_records(etags)
            if self._is_same(etags):
                return
            self._say("the copies differ: once more")
        raise Conflict("The tenant still changes in the source, so its copy is never the same")

    def _copy_records(self, etags: Mapping[str, str]) -> None:
        names = self._source.records.names()
        self._target.records.remove(self._target.records.names() - names)
        step: dict[str, Record] = {}
        for done, (name, record) in enumerate(self._source.records.read(names), 1):
            step[name] = _translated(name, record, etags)
            if done % 100 == 0:
                self._target.records.write(step)
                step = {}
        self._target.records.write(step)
        self._say(f"records: {len(names)} copied")

    def _copy_files(self) -> dict[str, str]:
        source, target = self._source, self._target
        ours, theirs = source.objects.files(), target.objects.files()
        target.objects.remove(theirs.keys() - ours.keys())
        wanted = [
            stored
            for key, stored in ours.items()
            if not same_content(source.storage, target.storage, stored, theirs.get(key))
        ]
        every = max(1, len(wanted) // 10)
        for done, _ in enumerate(copy_objects(source.storage, target.storage, wanted), 1):
            if done % every == 0:
                self._say(f"objects: {done} of {len(wanted)} copied")
        return changed_etags(ours, target.objects.files())

    def _copy_manifests(self, etags: Mapping[str, str]) -> None:
        source, target = self._source, self._target
        ours = source.objects.manifests()
        target.objects.remove(target.objects.manifests().keys() - ours.keys())
        for key in ours:
            text = _replace(_read(source.storage, key), etags)
            target.storage.put(key, text.encode(), source.storage.head(key).content_type)

    def _is_same(self, etags: Mapping[str, str]) -> bool:
        source, target = self._source, self._target
        names, theirs = source.records.names(), target.records.names()
        ours = {n: _translated(n, record, etags) for n, record in source.records.read(names)}
        copies = dict(target.records.read(theirs))
        files, manifests = source.objects.files(), source.objects.manifests()
        right = (
            ours.keys() == copies.keys()
            and digest(ours) == digest(copies)
            and self._files_are_same(files)
            and manifests.keys() == target.objects.manifests().keys()
            and all(
                _replace(_read(source.storage, key), etags) == _read(target.storage, key)
                for key in manifests
            )
        )
        if right:
            size = sum(stored.bytes for stored in files.values())
            self._say(
                f"verified: {len(ours)} records (SHA-256 {digest(ours)[:16]}…),"
                f" {len(files)} objects ({size} bytes), {len(manifests)} manifests"
            )
        return right

    def _files_are_same(self, ours: Mapping[str, StoredObject]) -> bool:
        theirs = self._target.objects.files()
        return ours.keys() == theirs.keys() and all(
            same_content(self._source.storage, self._target.storage, stored, theirs[key])
            for key, stored in ours.items()
        )

    def _open(self, cell: Cell) -> None:
        cell.records.admit()
        if cell.moves.state(self._tenant) in {MoveState.ARRIVING, MoveState.LEAVING}:
            cell.moves.end(self._tenant)
        self._say("open: the tenant's jobs run, and its requests are served")

    def _clear_source(self) -> None:
        source = self._source
        manifests, names = source.objects.manifests(), source.records.names()
        unfinished = {key.split("/")[2].split(".")[0] for key in manifests}
        source.objects.remove(manifests)  # first: from these, records could be made again
        source.records.forget(names, unfinished)
        source.objects.remove(source.objects.files())
        source.pins.unpin(self._tenant)
        self._say(f"removed at the source: {len(names)} records and all objects")


def _bucket(settings: Settings) -> tuple[str | None, str]:
    return settings.s3_endpoint_url, settings.s3_bucket


def _translated(name: str, record: Record, etags: Mapping[str, str]) -> Record:
    if etags and name.endswith(":spec"):
        return replace(record, content=_replace(record.content, etags))
    return record


def _replace(text: str, etags: Mapping[str, str]) -> str:
    for old, new in etags.items():
        text = text.replace(f'"etag":"{old}"', f'"etag":"{new}"')
    return text


def _read(storage: ObjectStorage, key: str) -> str:
    return storage.get(key, max_bytes=_MANIFEST_BYTES).decode()
