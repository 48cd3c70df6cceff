"""The warnings in a result: what a customer may not expect, in words."""

from __future__ import annotations

from collections.abc import Sequence

from worker.engine.faces import skip_reasons as reasons
from worker.engine.faces.detector import DetectedFace
from worker.engine.faces.face_selection import accepted_faces, chosen_indexes
from worker.engine.options import FaceOptions
from worker.engine.results import FaceRecord


def result_warnings(
    found: Sequence[DetectedFace], records: Sequence[FaceRecord], options: FaceOptions
) -> list[str]:
    """Return the warnings of one photo; the list may be empty."""
    if not accepted_faces(found, options):
        done = "unchanged" if options.background == "keep" else "enlarged, nothing else"
        return [f"No face was found: the picture is {done}.", *_below_threshold(len(found))]
    return [*_already_sharp(records), *_unknown_indexes(len(found), options)]


def _below_threshold(count: int) -> list[str]:
    what = "1 possible face is" if count == 1 else f"{count} possible faces are"
    return [f"{what} left as before: too uncertain to be restored."] if count else []


def _already_sharp(records: Sequence[FaceRecord]) -> list[str]:
    count = sum(one.reason == reasons.ALREADY_SHARP for one in records)
    what = "1 face is" if count == 1 else f"{count} faces are"
    return [f"{what} left as before: sharp already."] if count else []


def _unknown_indexes(count: int, options: FaceOptions) -> list[str]:
    unknown = sorted(set(chosen_indexes(options)) - set(range(count)))
    numbers = ", ".join(map(str, unknown))
    return [f"There is no face {numbers}: {count} were found, from 0."] if unknown else []
