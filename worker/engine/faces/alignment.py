"""From a face in the photo to the crop that the network sees, and to the place it goes back to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.engine.faces.detector import DetectedFace
from worker.engine.faces.pasting import SMALL_FACE_PX
from worker.engine.faces.sharpness import sharpness
from worker.engine.restoration import FaceOptions
from worker.imaging.colorization import grey_of
from worker.imaging.decode import Photo, Pixels
from worker.imaging.geometry import (
    Affine,
    Floats,
    crop,
    face_mask,
    fit_square,
    inverse,
    similarity,
    template_points,
    transform,
)


@dataclass(frozen=True, slots=True)
class Aligned:
    """A face on its way: what the network sees, and how its answer goes back.

    ``sharp``: it is not to be restored, for it needs no restoring. ``whole``: it is all there is.
    """

    seen: Pixels
    before: Pixels
    affine: Affine
    landmarks: NDArray[np.float64]
    mask: Floats
    small: bool
    sharp: bool
    whole: bool


class Aligner:
    """For a network that sees ``in_px`` and answers ``out_px``; in grey, where it ``colours``."""

    def __init__(self, template: str, in_px: int, out_px: int, *, colours: bool) -> None:
        self._template, self._in_px, self._out_px = template, in_px, out_px
        self._colours = colours

    def whole(self, photo: Photo) -> DetectedFace:
        """A photo that is one aligned crop, as if it had been detected in itself."""
        height, width = photo.pixels.shape[:2]
        to_photo = inverse(fit_square(height, width, self._in_px))
        landmarks = transform(template_points(self._template, self._in_px), to_photo)
        return DetectedFace((0.0, 0.0, float(width), float(height)), landmarks, 1.0)

    def align(self, photo: Photo, face: DetectedFace, options: FaceOptions) -> Aligned:
        """The face, ready for the network."""
        height, width = photo.pixels.shape[:2]

        def affine(size_px: int) -> Affine:
            if options.aligned:
                return fit_square(height, width, size_px)
            return similarity(face.landmarks, template_points(self._template, size_px))

        def cut(size_px: int) -> Pixels:
            return crop(photo.pixels, affine(size_px), size_px, options.resampling)

        in_px, out_px = self._in_px, self._out_px
        to_out, seen = affine(out_px), cut(in_px)
        landmarks = transform(face.landmarks, to_out)
        whole = np.ones((out_px, out_px), np.float32)
        return Aligned(
            seen=grey_of(seen) if self._colours else seen,
            before=seen if in_px == out_px else cut(out_px),
            affine=to_out,
            landmarks=landmarks,
            mask=whole if options.aligned else face_mask(landmarks, out_px),
            small=face.short_side_px < SMALL_FACE_PX,
            sharp=self._is_sharp(seen, options),
            whole=options.aligned,
        )

    def _is_sharp(self, seen: Pixels, options: FaceOptions) -> bool:
        # However sharp a grey face is, it has no colour yet.
        return options.skip_sharp and not self._colours and sharpness(seen).is_enough
