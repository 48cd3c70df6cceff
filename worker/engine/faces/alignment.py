"""Alignment: from a face in the photo to the network's input, and the way back for its output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.engine.faces.detector import DetectedFace
from worker.engine.faces.paste_mask import face_mask
from worker.engine.faces.pasting import SMALL_FACE_PX
from worker.engine.faces.sharpness import Sharpness, sharpness
from worker.engine.options import FaceOptions
from worker.imaging.colorization import grey_of
from worker.imaging.decode import Photo, Pixels
from worker.imaging.geometry import (
    Affine,
    Floats,
    crop,
    fit_square,
    inverse,
    similarity,
    template_points,
    transform,
)


@dataclass(frozen=True, slots=True)
class AlignedFace:
    """One face, cut out and turned to the model's template.

    ``network_input`` and ``original`` are crops of the photo, uint8 RGB, the first in the size of
    the network's input and the second in that of its output, S. ``affine`` maps photo to output;
    ``landmarks`` (5, 2) and ``mask``, float32 (S, S) 0…1, belong to the output. ``small``: the
    face has fewer pixels than the network draws. ``sharp``: the face needs no restoration.
    ``whole_photo``: the photo is the crop.
    """

    network_input: Pixels
    original: Pixels
    affine: Affine
    landmarks: NDArray[np.float64]
    mask: Floats
    small: bool
    sharp: bool
    whole_photo: bool


class Aligner:
    """Aligns faces for one network."""

    def __init__(self, template: str, in_px: int, out_px: int, *, colours: bool) -> None:
        """``in_px`` and ``out_px`` are the sides of the network's input and output.

        With ``colours`` the network colours faces, and its input is grey.
        """
        self._template, self._in_px, self._out_px = template, in_px, out_px
        self._colours = colours

    def whole_photo(self, photo: Photo) -> DetectedFace:
        """Return the face of a photo that is one aligned crop, as if it had been detected."""
        height, width = photo.pixels.shape[:2]
        to_photo = inverse(fit_square(height, width, self._in_px))
        landmarks = transform(template_points(self._template, self._in_px), to_photo)
        return DetectedFace((0.0, 0.0, float(width), float(height)), landmarks, 1.0)

    def align(self, photo: Photo, face: DetectedFace, options: FaceOptions) -> AlignedFace:
        """Cut one face out of the photo."""
        height, width = photo.pixels.shape[:2]

        def affine(size_px: int) -> Affine:
            if options.aligned:
                return fit_square(height, width, size_px)
            return similarity(face.landmarks, template_points(self._template, size_px))

        def cut(size_px: int) -> Pixels:
            return crop(photo.pixels, affine(size_px), size_px, options.resampling)

        in_px, out_px = self._in_px, self._out_px
        to_output, small_crop = affine(out_px), cut(in_px)
        landmarks = transform(face.landmarks, to_output)
        full_mask = np.ones((out_px, out_px), np.float32)
        return AlignedFace(
            network_input=grey_of(small_crop) if self._colours else small_crop,
            original=small_crop if in_px == out_px else cut(out_px),
            affine=to_output,
            landmarks=landmarks,
            mask=full_mask if options.aligned else face_mask(landmarks, out_px),
            small=face.short_side_px < SMALL_FACE_PX,
            sharp=self._is_sharp(small_crop, options),
            whole_photo=options.aligned,
        )

    def sharpness(self, photo: Photo, face: DetectedFace) -> tuple[Sharpness, bool]:
        """Measure a face as `align` does; also return whether ``skip_sharp`` would skip it."""
        affine = similarity(face.landmarks, template_points(self._template, self._in_px))
        cut = crop(photo.pixels, affine, self._in_px, FaceOptions().resampling)
        measured = sharpness(cut)
        return measured, measured.is_enough and not self._colours

    def _is_sharp(self, network_input: Pixels, options: FaceOptions) -> bool:
        # A grey face has no colour yet, however sharp it is.
        return options.skip_sharp and not self._colours and sharpness(network_input).is_enough
