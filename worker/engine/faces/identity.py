"""Whether a restored face is still the same person: dlib's face embedding (extra ``identity``).

dlib is imported when the first embedder is asked for. Embeddings tell persons apart, so they are
compared and forgotten: nothing here or above keeps one.
"""

from __future__ import annotations

import functools
import importlib.util
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.errors import IdentityTooLow, OptionUnavailable, WeightsInvalid
from worker.imaging.decode import Pixels
from worker.imaging.geometry import crop, similarity
from worker.weights.files import file_sha256

Embedding = NDArray[np.float64]

#: The distance below which dlib's authors take two photos for the same person.
SAME_PERSON_DISTANCE = 0.6
#: The likeness at that distance.
SAME_PERSON = 0.5

NETWORK_FILE = "models/dlib_face_recognition_resnet_model_v1.dat"
NETWORK_SHA256 = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
_MISSING = (
    "comparing persons needs packages that are not installed; "
    "run: pip install dlib-bin face-recognition-models"
)
CHIP_SIDE_PX = 150
#: Our five landmarks in the square that the network was trained on, which dlib cuts by five other
#: points: mean over 110 upright portraits that were cut by dlib, rounded (they scatter by 2 px).
CHIP_POINTS = np.array([(46.7, 44.0), (101.7, 44.1), (74.5, 76.3), (50.4, 101.4), (99.2, 101.2)])


class Embedder:
    """Safe to call from many threads; they take turns, for dlib's network keeps state."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self._turn = threading.Lock()

    def embed(self, image: Pixels, landmarks: NDArray[np.float64]) -> Embedding:
        """128 numbers for the face at ``landmarks`` (5, 2) in ``image``, uint8 RGB (H, W, 3)."""
        face = crop(image, similarity(landmarks, CHIP_POINTS), CHIP_SIDE_PX)
        with self._turn:
            return np.array(self._network.compute_face_descriptor(np.ascontiguousarray(face)))

    def compare(self, before: Pixels, after: Pixels, landmarks: NDArray[np.float64]) -> float:
        """How alike the persons in two pictures of the same place are; see ``likeness``."""
        return likeness(self.embed(before, landmarks), self.embed(after, landmarks))


class Guard:
    """Compares restored faces with what they were, and judges by the least likeness allowed."""

    def __init__(self, least: float, *, strict: bool) -> None:
        self._least, self._strict = least, strict
        self._embedder = load_embedder()

    def judge(
        self, before: Pixels, after: Pixels, landmarks: NDArray[np.float64]
    ) -> tuple[float, bool]:
        """The likeness, and whether it is enough; raises IdentityTooLow if not and ``strict``."""
        alike = self._embedder.compare(before, after, landmarks)
        if self._strict and alike < self._least:
            raise IdentityTooLow(
                f"a restored face is {alike:.2f} like the original; {self._least:.2f} is asked for"
            )
        return alike, alike >= self._least


def likeness(first: Embedding, second: Embedding) -> float:
    """1 for the same embedding, 0.5 at the distance that tells persons apart, 0 at its double."""
    return likeness_of(float(np.linalg.norm(first - second)))


def likeness_of(distance: float) -> float:
    """Return the likeness at a distance of two embeddings; see ``likeness``."""
    return max(0.0, 1.0 - distance * (1.0 - SAME_PERSON) / SAME_PERSON_DISTANCE)


@functools.cache
def load_embedder() -> Embedder:
    """The one embedder of this process.

    Raises OptionUnavailable, naming the command that installs it, or WeightsInvalid.
    """
    path = network_path()
    try:
        import dlib  # noqa: PLC0415 - an extra, and only for those who ask
    except ImportError:
        raise OptionUnavailable(_MISSING) from None
    if (actual := file_sha256(path)) != NETWORK_SHA256:
        raise WeightsInvalid(f"{path} has sha256 {actual}; {NETWORK_SHA256} is expected")
    return Embedder(dlib.face_recognition_model_v1(str(path)))


def network_path() -> Path:
    """The network's file; raises OptionUnavailable where the package with it is missing.

    The package is not imported: it wants a part of setuptools that is gone.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        raise OptionUnavailable(_MISSING)
    return Path(spec.submodule_search_locations[0]) / NETWORK_FILE
