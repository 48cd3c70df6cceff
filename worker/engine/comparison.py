"""Two restorations of one photo, compared face by face. What the figures mean is for others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from worker.engine.faces import skip_reasons as reasons
from worker.engine.faces.gradient_energy import gradient_energy
from worker.engine.faces.identity import Embedder, identity_similarity
from worker.engine.faces.paste_mask import face_mask
from worker.engine.results import FaceRecord, Restoration
from worker.imaging.decode import Pixels
from worker.imaging.geometry import Floats, crop, similarity, template_points, transform

Status = Literal["restored", "kept", "failed"]
#: The face was to be restored, and a model kept it as it was.
_KEPT = frozenset({reasons.ALREADY_SHARP, reasons.IDENTITY_TOO_LOW})


@dataclass(frozen=True, slots=True)
class FaceResult:
    """One model's result of a face, beside the input.

    ``sharpness``: gradient energy over that of the input. ``identity``: similarity to the input,
    if there is an embedder.
    """

    status: Status
    sharpness: float = 1.0
    identity: float | None = None


@dataclass(frozen=True, slots=True)
class FaceComparison:
    """One face. ``squared_error``: mean squared difference of both results, in 8-bit levels."""

    old: FaceResult
    new: FaceResult
    squared_error: float = 0.0

    @property
    def changed(self) -> bool:
        """Whether at least one model changed the face; else there is nothing to compare."""
        return "restored" in (self.old.status, self.new.status)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compares faces in crops of ``size_px``, aligned to ``template``.

    The ``embedder`` gets only the first face that is compared: with each call it keeps all threads
    of Python waiting for a tenth of a second.
    """

    template: str
    size_px: int
    embedder: Embedder | None = None

    def faces(self, before: Pixels, old: Restoration, new: Restoration) -> Iterator[FaceComparison]:
        """Yield the faces that were to be restored.

        Both restorations have the size of ``before`` and list the same faces in the same order.
        """
        embedder = self.embedder
        for one, other in zip(old.faces, new.faces, strict=True):
            statuses = _status(one), _status(other)
            if "restored" in statuses:
                pictures = (before, old.photo.pixels, new.photo.pixels)
                yield self._compare(np.asarray(one.landmarks), pictures, statuses, embedder)
                embedder = None
            elif any(statuses):
                kept = [FaceResult(status or "kept") for status in statuses]
                yield FaceComparison(kept[0], kept[1])

    def _compare(
        self,
        landmarks: NDArray[np.float64],
        pictures: Sequence[Pixels],
        statuses: Sequence[Status | None],
        embedder: Embedder | None,
    ) -> FaceComparison:
        affine = similarity(landmarks, template_points(self.template, self.size_px))
        mask = face_mask(transform(landmarks, affine), self.size_px)
        crops = [crop(picture, affine, self.size_px) for picture in pictures]
        energies = [gradient_energy(each, mask) for each in crops]
        identities = _identities(embedder, landmarks, pictures)
        old, new = (
            FaceResult(status or "kept", energy / energies[0] if energies[0] > 0 else 1.0, identity)
            for status, energy, identity in zip(statuses, energies[1:], identities, strict=True)
        )
        return FaceComparison(old, new, _squared_error(crops[1], crops[2], mask))


def _identities(
    embedder: Embedder | None, landmarks: NDArray[np.float64], pictures: Sequence[Pixels]
) -> Sequence[float | None]:
    if embedder is None:
        return None, None
    before, *after = (embedder.embed(picture, landmarks) for picture in pictures)
    return [identity_similarity(before, each) for each in after]


def _status(face: FaceRecord) -> Status | None:
    """Return what became of a face; None if it was not to be restored."""
    if face.status == "skipped":
        return "kept" if face.reason in _KEPT else None
    return face.status


def _squared_error(one: Pixels, other: Pixels, mask: Floats) -> float:
    total = float(mask.sum())
    squares = ((one.astype(np.float32) - other) ** 2).mean(2)
    return float((squares * mask).sum()) / total if total else 0.0
