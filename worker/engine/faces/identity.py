"""The identity check: whether a restored face is still the same person (extra ``identity``).

It compares dlib's face embeddings. dlib is imported at the first use. Embeddings identify persons,
so they are compared and then dropped: no code keeps one.
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
from worker.weights.verification import file_sha256

Embedding = NDArray[np.float64]

#: dlib's authors: below this distance, two photos show the same person.
SAME_PERSON_DISTANCE = 0.6
#: The similarity at that distance.
SAME_PERSON = 0.5

NETWORK_FILE = "models/dlib_face_recognition_resnet_model_v1.dat"
NETWORK_SHA256 = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
_MISSING = (
    "min_identity needs packages that are not installed; "
    "run: pip install dlib-bin face-recognition-models"
)
CHIP_SIDE_PX = 150
#: The five landmarks in the crop that the network was trained on. dlib aligns by five other points,
#: so these are means over 110 upright portraits that dlib aligned; they scatter by 2 px.
CHIP_POINTS = np.array([(46.7, 44.0), (101.7, 44.1), (74.5, 76.3), (50.4, 101.4), (99.2, 101.2)])


class Embedder:
    """dlib's network. It is thread-safe: calls take turns, because the network keeps state."""

    def __init__(self, network: Any) -> None:
        self._network = network
        self._turn = threading.Lock()

    def embed(self, image: Pixels, landmarks: NDArray[np.float64]) -> Embedding:
        """Return 128 numbers for the face at ``landmarks`` (5, 2) in uint8 RGB (H, W, 3)."""
        face = crop(image, similarity(landmarks, CHIP_POINTS), CHIP_SIDE_PX)
        with self._turn:
            return np.array(self._network.compute_face_descriptor(np.ascontiguousarray(face)))

    def compare(self, before: Pixels, after: Pixels, landmarks: NDArray[np.float64]) -> float:
        """Return the `identity_similarity` of a face in two images with the same landmarks."""
        return identity_similarity(self.embed(before, landmarks), self.embed(after, landmarks))


class IdentityCheck:
    """Compares restored faces with the original ones; ``min_similarity`` is the limit, 0…1."""

    def __init__(self, min_similarity: float, *, strict: bool) -> None:
        self._min_similarity, self._strict = min_similarity, strict
        self._embedder = load_embedder()

    def run(
        self, before: Pixels, after: Pixels, landmarks: NDArray[np.float64]
    ) -> tuple[float, bool]:
        """Return the similarity, and whether it reaches the limit.

        Raises IdentityTooLow if it does not and the check is strict.
        """
        similarity_found = self._embedder.compare(before, after, landmarks)
        if self._strict and similarity_found < self._min_similarity:
            raise IdentityTooLow(
                f"a restored face has identity similarity {similarity_found:.2f}; "
                f"{self._min_similarity:.2f} is asked for"
            )
        return similarity_found, similarity_found >= self._min_similarity


def identity_similarity(first: Embedding, second: Embedding) -> float:
    """Return 1 for equal embeddings, 0.5 at `SAME_PERSON_DISTANCE`, 0 at twice that distance."""
    return similarity_at(float(np.linalg.norm(first - second)))


def similarity_at(distance: float) -> float:
    """Return the `identity_similarity` of two embeddings at this distance."""
    return max(0.0, 1.0 - distance * (1.0 - SAME_PERSON) / SAME_PERSON_DISTANCE)


@functools.cache
def load_embedder() -> Embedder:
    """Return the one embedder of this process.

    Raises OptionUnavailable, which names the packages to install, or WeightsInvalid.
    """
    path = network_path()
    try:
        import dlib  # noqa: PLC0415 - an optional package
    except ImportError:
        raise OptionUnavailable(_MISSING) from None
    if (actual := file_sha256(path)) != NETWORK_SHA256:
        raise WeightsInvalid(f"{path} has sha256 {actual}; {NETWORK_SHA256} is expected")
    return Embedder(dlib.face_recognition_model_v1(str(path)))


def network_path() -> Path:
    """Return the network's file; raises OptionUnavailable if its package is missing.

    The package is not imported: it needs a part of setuptools that no longer exists.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        raise OptionUnavailable(_MISSING)
    return Path(spec.submodule_search_locations[0]) / NETWORK_FILE
