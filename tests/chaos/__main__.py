"""``make chaos``: all rows of the fault matrix, each in its own process, then one table.

Rows that only wait have a lane of their own; those that measure times run alone beside it. Exit
code 1: something was lost, doubled or late, or a row could not be run to its end.
"""

from __future__ import annotations

import faulthandler
import importlib
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from deploy.embedded.child_process import ChildProcess
from shared.errors import StackFailed
from tests.chaos.report import Row, breaches, table
from tests.chaos.rows import SPECS, Run, Skipped, Spec

_ROOT = Path(__file__).resolve().parents[2]
_MODULES = (
    "worker_rows",
    "child_rows",
    "doorbell_rows",
    "redis_rows",
    "storage_rows",
    "api_rows",
    "webhook_rows",
    "machine_rows",
    "upgrade_rows",
)
_RESULT = "row.json"
_LANES = 2 + (os.cpu_count() or 1)  # rows mostly wait


@click.command()
@click.argument("names", nargs=-1)
@click.option("--seed", default=20_261_122, show_default=True, help="Of every die that is cast.")
@click.option("--lanes", default=_LANES, show_default=True, help="Rows at once, beside long ones.")
@click.option("--keep", is_flag=True, help="Keep folders and logs of rows that held, too.")
@click.option("--one", is_flag=True, hidden=True, help="Run this row here, in --folder.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where everything is put.")
def main(  # noqa: PLR0917  # click's
    names: Sequence[str], seed: int, lanes: int, keep: bool, one: bool, folder: Path | None
) -> None:
    """Break the service in every way of the fault matrix (or only in those NAMED: F1 F14)."""
    for module in _MODULES:
        importlib.import_module(f"tests.chaos.{module}")
    if one:
        assert folder is not None
        _run(SPECS[names[0]], folder, seed)
        return
    wanted = [spec for name, spec in SPECS.items() if not names or name in names]
    started = time.monotonic()
    place = folder or Path(tempfile.mkdtemp(prefix="facemend-chaos-"))
    rows = Lanes(place, seed, lanes).run(wanted)
    took_s = time.monotonic() - started
    click.echo(f"\nseed {seed}; folder {place}; {took_s:.0f} s\n\n{table(rows)}")
    if broken := [line for row in rows for line in breaches(row)]:
        click.echo("\n" + "\n".join(broken), err=True)
        sys.exit(1)
    if not keep:
        shutil.rmtree(place, ignore_errors=True)


def _run(spec: Spec, folder: Path, seed: int) -> None:
    """Run one row in this process; its outcome is in the folder afterwards."""
    row = Row(spec.name, spec.fault, spec.bound)
    started = time.monotonic()
    faulthandler.dump_traceback_later(spec.limit_s - 5, file=sys.stderr)
    try:
        spec.run(Run(row, folder, seed))
    except Skipped as reason:
        row.skipped = str(reason)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # the row has failed, and reports how
        traceback.print_exc()
        row.breach(f"{type(error).__name__}: {error}"[:500])
    row.took_s = time.monotonic() - started
    (folder / _RESULT).write_text(row.to_json())


class Lanes:
    """Runs rows in parallel, but never two that measure time."""

    def __init__(self, folder: Path, seed: int, lanes: int) -> None:
        self._folder, self._seed, self._lanes = folder, seed, lanes
        self._running: dict[str, tuple[Spec, ChildProcess, float]] = {}
        self._done: dict[str, Row] = {}

    def run(self, specs: Sequence[Spec]) -> list[Row]:
        waiting = sorted(specs, key=lambda spec: (not spec.long, spec.alone, -spec.limit_s))
        try:
            while waiting or self._running:
                for spec in [spec for spec in waiting if self._may_start(spec)][:1]:
                    waiting.remove(spec)
                    self._start(spec)
                self._collect()
                time.sleep(0.1)
        finally:
            for _, child, _ in self._running.values():
                child.stop(grace_s=5)
        return [self._done[spec.name] for spec in specs]

    def _may_start(self, spec: Spec) -> bool:
        if spec.long:
            return True
        busy = [other for other, _, _ in self._running.values() if not other.long]
        if spec.alone or any(other.alone for other in busy):
            return not busy
        return len(busy) < self._lanes

    def _start(self, spec: Spec) -> None:
        folder = self._folder / spec.name
        folder.mkdir(parents=True)
        argv = [sys.executable, "-m", "tests.chaos", "--one", "--folder", str(folder)]
        argv += ["--seed", str(self._seed), spec.name]
        child = ChildProcess("row", argv, folder=folder, cwd=_ROOT)
        child.start()
        self._running[spec.name] = (spec, child, time.monotonic())

    def _collect(self) -> None:
        for spec, child, started in list(self._running.values()):
            took_s = time.monotonic() - started
            if child.running and took_s < spec.limit_s:
                continue
            child.stop(grace_s=2)
            del self._running[spec.name]
            self._done[spec.name] = row = self._read(spec, child, took_s)
            click.echo(f"{row.name} {row.verdict} in {took_s:.0f} s: {row.fault}")

    def _read(self, spec: Spec, child: ChildProcess, took_s: float) -> Row:
        result = self._folder / spec.name / _RESULT
        if result.exists():
            return Row.from_json(result.read_text())
        row = Row(spec.name, spec.fault, spec.bound, took_s=took_s)
        row.breach(f"not done after {took_s:.0f} s: {child.log_tail(3)}")
        return row


if __name__ == "__main__":
    try:
        main()
    except StackFailed as error:
        sys.exit(f"chaos: {error.detail}")
