"""Which photos are meant, and where each result goes."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from facemend.folder.photos import PhotoFolder
from facemend.folder.record import Record
from facemend.folder.result_names import ResultNames
from facemend.folder.results import RECORD_NAME

DONE_BEFORE = "done before"
#: Suffix of a result → its format.
FORMATS = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp"}


@dataclass(frozen=True, slots=True)
class Work:
    """One photo to restore.

    ``target`` is where the result goes; only if ``exact``, its suffix decides the format.
    ``compared`` is where the comparison goes; ``name`` is the photo's name in the record of its
    folder. ``data`` are the bytes of a photo that is no file.
    """

    source: Path
    target: Path
    compared: Path
    name: str = ""
    exact: bool = False
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not restored, and why."""

    source: Path
    reason: str
    output: Path | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with a photo or a folder, in the order of names.

    ``record`` is that of a folder; ``left_out`` are its subfolders without ``recursive``.
    """

    steps: tuple[Work | Skipped, ...]
    names: ResultNames = field(default_factory=ResultNames)
    record: Record | None = None
    left_out: int = 0


def plan(
    source: Path,
    output: Path | None,
    *,
    recursive: bool = False,
    resume: bool = True,
    options: str = "",
) -> Plan:
    """Plan a photo or a folder.

    ``options`` identifies how photos are restored: with ``resume``, a photo of a folder that was
    restored in the same way and has not changed since is skipped. Raises click.UsageError if
    nothing sensible can be meant.
    """
    if source.is_dir():
        return _Folder(source, output, recursive).plan(options, resume=resume)
    if not source.exists():
        raise click.UsageError(f"{source} does not exist.")
    if not source.is_file():
        raise click.UsageError(f"{source} is neither a file nor a folder.")
    if output is None:
        return _single(source, source.with_name(f"output_{source.name}"))
    if output.is_dir():
        return _single(source, output / f"output_{source.name}")
    _require_format(output)
    if output.exists() and output.samefile(source):
        raise click.UsageError("The result would overwrite the photo: give another --output.")
    return _single(source, output, exact=True)


def plan_sample(output: Path | None) -> Plan:
    """Plan the public-domain photo of the demo, damaged; its result goes into this folder."""
    from worker.commands.stack.demo_pictures import free_photo, spoil

    damaged = io.BytesIO()
    spoil(free_photo()).save(damaged, "png")
    target, exact = Path("output_astronaut.png"), False
    if output is not None and output.is_dir():
        target = output / target
    elif output is not None:
        _require_format(output)
        target, exact = output, True
    found = _single(Path("astronaut.png"), target, exact=exact)
    (work,) = (step for step in found.steps if isinstance(step, Work))
    return replace(found, steps=(replace(work, data=damaged.getvalue()),))


def _single(source: Path, target: Path, *, exact: bool = False) -> Plan:
    names = ResultNames([source])
    target = target if exact else names.claim(target)
    compared = names.claim(target.with_name(f"{target.stem}_comparison.png"))
    return Plan((Work(source, target, compared, exact=exact),), names)


def _require_format(output: Path) -> None:
    if output.suffix.lower() not in FORMATS:
        raise click.UsageError(f"{output}: the result can be .png, .jpg, .jpeg or .webp.")


class _Folder:
    def __init__(self, source: Path, output: Path | None, recursive: bool) -> None:
        here = source.resolve()
        self._output = output or here.with_name(f"output_{here.name}")
        self._photos = PhotoFolder(source, recursive, (self._output,))
        if self._output.exists():
            if not self._output.is_dir() or self._output.samefile(source):
                raise click.UsageError(
                    f"{self._output}: the results of a folder need a folder of their own."
                )
        elif self._output.is_symlink():
            raise click.UsageError(f"{self._output} is a link that leads nowhere.")

    def plan(self, options: str, *, resume: bool) -> Plan:
        """Raises click.UsageError if there is no photo."""
        found = list(self._photos.files())
        if not any(reason is None for _, reason in found):
            raise click.UsageError(self._photos.nothing_found(found))
        name_of = self._photos.name_of
        record = Record.of_folder(self._output, options)
        skipped: dict[Path, Skipped] = {}
        for path, reason in found:
            before = record.result_of(name_of(path), path) if resume and not reason else None
            if reason:
                skipped[path] = Skipped(path, reason)
            elif before:
                skipped[path] = Skipped(path, DONE_BEFORE, before)
            else:
                record.forget(name_of(path))
        # Results of photos that are not restored now must not be overwritten.
        names = ResultNames([self._output / RECORD_NAME, *record.results()])
        photos = [path for path, _ in found if path not in skipped]
        targets = {path: names.claim(self._output / name_of(path)) for path in photos}
        work = {
            path: Work(
                path,
                target,
                names.claim(target.with_name(f"{target.name}_comparison.png")),
                name_of(path),
            )
            for path, target in targets.items()
        }
        steps = tuple(skipped.get(path) or work[path] for path, _ in found)
        return Plan(steps, names, record, self._photos.left_out)
