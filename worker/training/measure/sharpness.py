"""Sharpness and likeness of a restored face beside the original, in two figures.

Neither can be trusted alone: an unsharp mask raises the gradient energy, and a picture without any
detail may keep its features. The bars ask for both, and for nearness and identity too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.faces.gradient_energy import gradient_energy
from worker.engine.faces.paste_mask import face_mask
from worker.training.data.degradations import Image

#: The backbone's maps of an image, finest first.
Features = Callable[[Image], Sequence[Tensor]]
# Of the three maps the second: fine enough to see an eye, coarse enough not to see its noise.
_STAGE = 1


def gradient_ratio(image: Image, reference: Image, landmarks: NDArray[np.float64]) -> float:
    """Return the energy of the gradients inside the face over that of the reference: 1 is as sharp.

    Accepts square crops of one size. A reference without any gradient gives 1.
    """
    mask = face_mask(landmarks, len(reference))
    ours, theirs = (gradient_energy(each, mask) for each in (image, reference))
    return ours / theirs if theirs > 0 else 1.0


def feature_distance(image: Image, reference: Image, features: Features) -> float:
    """Return how far a face detector's mean activations are from the reference's, as a share."""
    ours, theirs = (features(each)[_STAGE].mean((2, 3)) for each in (image, reference))
    return float((ours - theirs).norm() / theirs.norm().clamp(min=1e-6))
