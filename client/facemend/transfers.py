"""Large files on their way: results to a file, photos to the storage; in pieces."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

from facemend.calls import repeated
from facemend.errors import ResultDamaged, UnexpectedAnswer
from facemend.folder.result_names import SUFFIXES
from facemend.models import Restoration, StoredImage
from facemend.steps import Request, Save, Steps

Which = Literal["image", "comparison"]

_PIECE_BYTES = 1 << 20


def picture_of(job: Restoration, which: Which) -> StoredImage:
    """Return a picture of a job that succeeded. Raises ValueError if it has none."""
    picture = job.result and (job.result.image if which == "image" else job.result.comparison)
    if not picture:
        hint = ': ask for it with output={"comparison": True}' if job.result else ""
        raise ValueError(f"{job.id} is {job.status} and has no {which}{hint}")
    return picture


def check_suffix(target: Path, picture: StoredImage) -> None:
    """Raise ValueError if the name of the file promises another format than the picture has."""
    suffix = target.suffix.lower()
    known = {each for suffixes in SUFFIXES.values() for each in suffixes}
    if suffix in known and suffix not in SUFFIXES.get(picture.format, ()):
        wanted = next((kind for kind, names in SUFFIXES.items() if suffix in names), "")
        raise ValueError(
            f"the result is {picture.format}, but {target.name} ends in {suffix}: "
            f'rename it, or ask for output={{"format": "{wanted}"}}'
        )


def fetch(picture: StoredImage, file: IO[bytes], patience_s: float) -> Steps[None]:
    """Write the picture to ``file`` and compare its hash. Raises ResultDamaged, UnexpectedAnswer.

    UnexpectedAnswer: the address has expired, or the picture is deleted.
    """
    if picture.url is None:
        raise UnexpectedAnswer(404, "the picture is no longer stored")
    # The address carries its own right to the file: the API key is not sent there.
    yield from repeated(Save(Request(method="GET", url=picture.url), file), patience_s)
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
    if digest.hexdigest() != picture.sha256:
        raise ResultDamaged(f"{picture.key}: the bytes that arrived have another SHA-256")


@contextmanager
def replaced(target: Path) -> Iterator[IO[bytes]]:
    """Yield a new file that replaces ``target`` at the end; after an error, nothing is changed.

    The folder is made if it is missing. Raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with unfinished.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
