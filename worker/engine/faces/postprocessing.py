"""From the network's output for one face to pasted pixels, or to the reason why nothing is pasted.

In order: the mask, the bilateral smooth, the colour match, the identity check, the paste.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.errors import OutOfMemory
from worker.engine.batching.batcher import RestoredCrop
from worker.engine.faces import skip_reasons as reasons
from worker.engine.faces.alignment import AlignedFace
from worker.engine.faces.detector import DetectedFace
from worker.engine.faces.identity import IdentityCheck
from worker.engine.faces.parsing import FaceParser
from worker.engine.faces.pasting import Paster, blend
from worker.engine.options import FaceOptions
from worker.engine.results import FaceRecord
from worker.imaging.decode import Pixels
from worker.imaging.geometry import Floats

_MIN_MASK_PX = 16  # a smaller mask holds no face
# The contrast changes within these bounds only: an almost flat face would else be blown up.
_MIN_GAIN, _MAX_GAIN = 0.5, 2.0
# The bilateral filter: its width at 512 px, and the step in levels that it does not smooth.
_FILTER_PX, _FILTER_LEVELS = 8.0, 24.0


@dataclass(frozen=True, slots=True)
class FacePostprocessor:
    """Finishes the faces of one photo. Without a ``parser``, masks are drawn from landmarks."""

    paster: Paster
    options: FaceOptions
    identity_check: IdentityCheck | None = None
    parser: FaceParser | None = None

    def finish(
        self, record: FaceRecord, aligned: AlignedFace, output: RestoredCrop | OutOfMemory
    ) -> FaceRecord:
        """Paste the restored crop and return the new record; without a paste, it has the reason.

        Raises IdentityTooLow if the options are strict and the face is no longer the same person.
        """
        if aligned.sharp:
            return replace(record, reason=reasons.ALREADY_SHARP)
        if output is None:
            return replace(record, status="failed", reason=reasons.NOT_FINITE)
        if isinstance(output, OutOfMemory):
            return replace(record, status="failed", reason=output.code)
        mask = self._mask(aligned, output)
        if mask.sum() < _MIN_MASK_PX:
            return replace(record, status="failed", reason=reasons.NOT_PARSED)
        return self._paste(record, aligned, self._filter(aligned, output, mask), mask)

    def _mask(self, aligned: AlignedFace, restored: Pixels) -> Floats:
        if self.parser is None or aligned.whole_photo:
            return aligned.mask
        return self.parser.mask(restored)

    def _filter(self, aligned: AlignedFace, restored: Pixels, mask: Floats) -> Pixels:
        if self.options.post_filter:
            restored = bilateral_smooth(restored)
        if self.options.keep_colour and not self.paster.only_colour:
            restored = match_colour(aligned.original, restored, mask)
        return restored

    def _paste(
        self, record: FaceRecord, aligned: AlignedFace, restored: Pixels, mask: Floats
    ) -> FaceRecord:
        before, strength = aligned.original, self.options.strength
        after = None
        if self.identity_check or self.options.crops:
            after = blend(before, restored, strength, only_colour=self.paster.only_colour)
        if self.identity_check and after is not None:
            similarity, enough = self.identity_check.run(before, after, aligned.landmarks)
            record = replace(record, identity_similarity=similarity)
            if not enough:
                return replace(record, reason=reasons.IDENTITY_TOO_LOW)
        self.paster.paste(
            before, restored, mask, aligned.affine, strength=strength, small=aligned.small
        )
        record = replace(record, status="restored", reason=None)
        if not self.options.crops:
            return record
        return replace(record, crop_before=before, crop_after=after)


def match_colour(before: Pixels, after: Pixels, mask: Floats) -> Pixels:
    """Return ``after`` with the mean and the variance of ``before`` in each channel.

    Both crops are uint8 (S, S, 3). ``mask``, float32 (S, S) 0…1, weights the pixels; its sum must
    not be 0. The method is the transfer of channel statistics of Reinhard et al., "Color transfer
    between images", IEEE CG&A 21(5), 2001, here in RGB.
    """
    weights = mask / mask.sum()
    mean_before, deviation_before = _mean_and_deviation(before, weights)
    mean, deviation = _mean_and_deviation(after, weights)
    gain = deviation_before / np.maximum(deviation, 1e-3)
    gain = np.where(deviation > 1e-3, gain.clip(_MIN_GAIN, _MAX_GAIN), 1.0).astype(np.float32)
    matched = (after - mean) * gain + mean_before
    return np.asarray(matched.round().clip(0, 255), np.uint8)


def _mean_and_deviation(crop: Pixels, weights: Floats) -> tuple[NDArray[np.float32], ...]:
    mean = np.tensordot(weights, crop.astype(np.float32), axes=2)
    variance = np.tensordot(weights, (crop - mean) ** 2, axes=2)
    return np.asarray(mean, np.float32), np.sqrt(variance, dtype=np.float32)


def bilateral_smooth(crop: Pixels) -> Pixels:
    """Smooth a crop, uint8 (S, S, 3), between its edges: it removes texture that was invented.

    Bilateral filter: Tomasi and Manduchi, "Bilateral filtering for gray and color images",
    ICCV 1998.
    """
    width_px = _FILTER_PX * len(crop) / 512
    return np.asarray(cv2.bilateralFilter(crop, -1, _FILTER_LEVELS, width_px), np.uint8)


def initial_record(index: int, face: DetectedFace, reason: str | None) -> FaceRecord:
    """Return the record of a face before its restoration; with a ``reason`` there will be none."""
    landmarks = tuple((float(x), float(y)) for x, y in face.landmarks)
    return FaceRecord(index, face.box, landmarks, face.score, "skipped", reason)


def require_one_restored(records: Sequence[FaceRecord]) -> None:
    """Raise OutOfMemory if no face was restored and a lack of memory is among the reasons."""
    found = [record.reason for record in records]
    if reasons.OUT_OF_MEMORY in found and None not in found:
        raise OutOfMemory
