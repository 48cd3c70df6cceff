"""The face detector: RetinaFace, with the network of facexlib.

RetinaFace: Deng et al., arXiv 1905.00641. facexlib's detector stores the data of one image on the
instance and computes its anchors in a Python loop. So only its network, its box decoding and its
suppression are used, and this module keeps no state between images. Only this file uses BGR.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.errors import WeightsInvalid
from worker.engine.faces.torchvision_compat import import_torchvision

#: Photos are reduced to this many pixels on the long side; smaller faces than that shows are lost.
MAX_DETECTION_PX = 1600
#: The long side for a second detection if the first finds nothing: anchors end at 512 px.
SECOND_DETECTION_PX = 512
#: Landmarks of faces that appear larger than the first value jitter by several percent of the
#: distance between the eyes (measured on photos enlarged step by step); the second value is best.
_UNSTEADY_PX, _STEADY_PX = 400, 200
_FACEXLIB_NAMES = {"retinaface-mobilenet0.25": "mobile0.25", "retinaface-resnet50": "resnet50"}
_MEAN_BGR = (104.0, 117.0, 123.0)
_OVERLAP = 0.4
_MAX_CANDIDATES = 5000


@dataclass(frozen=True, slots=True)
class DetectedFace:
    """One face, in pixels of the photo: box x0 y0 x1 y1 inside its borders, landmarks (5, 2) x y.

    Landmarks: left eye, right eye, nose, left and right corner of the mouth, as the viewer sees
    them. ``score``: 0…1.
    """

    box: tuple[float, float, float, float]
    landmarks: NDArray[np.float64]
    score: float

    @property
    def short_side_px(self) -> float:
        """Shorter side of the box."""
        x0, y0, x1, y1 = self.box
        return min(x1 - x0, y1 - y0)

    @property
    def long_side_px(self) -> float:
        """Longer side of the box."""
        x0, y0, x1, y1 = self.box
        return max(x1 - x0, y1 - y0)

    def overlap(self, other: DetectedFace) -> float:
        """Return the intersection of both boxes over their union, 0…1."""
        a, b = np.array(self.box).reshape(2, 2), np.array(other.box).reshape(2, 2)
        shared = float((np.minimum(a[1], b[1]) - np.maximum(a[0], b[0])).clip(0).prod())
        union = float((a[1] - a[0]).prod() + (b[1] - b[0]).prod()) - shared
        return shared / union if union > 0 else 0.0


class FaceDetector:
    """RetinaFace. It is thread-safe: calls take turns, because each detection uses all cores."""

    def __init__(self, network: Any, name: str, device: torch.device) -> None:
        self.name = name
        self._network, self._device = network, device
        self._turn = threading.Lock()

    def detect(
        self, image: NDArray[np.uint8], threshold: float, min_score: float | None = None
    ) -> tuple[DetectedFace, ...]:
        """Return the faces with a score above ``min_score``, from left to right.

        ``image`` is uint8 RGB (H, W, 3) of any size. If no face scores above ``threshold``, a
        smaller copy is searched too. ``min_score`` is ``threshold`` if it is not given.
        """
        min_score = threshold if min_score is None else min(min_score, threshold)
        long_side_px = min(MAX_DETECTION_PX, max(image.shape[:2]))
        faces = self._detect_at(image, long_side_px, min_score)
        if long_side_px > SECOND_DETECTION_PX and all(face.score <= threshold for face in faces):
            smaller = self._detect_at(image, SECOND_DETECTION_PX, min_score)
            if any(face.score > threshold for face in smaller) or not faces:
                faces, long_side_px = smaller, SECOND_DETECTION_PX
        scale = long_side_px / max(image.shape[:2])
        largest_px = scale * max((face.long_side_px for face in faces), default=0)
        if largest_px > _UNSTEADY_PX:
            smaller = self._detect_at(
                image, round(long_side_px * _STEADY_PX / largest_px), min_score
            )
            faces = [_steadier(face, smaller, _UNSTEADY_PX / scale) for face in faces]
        return tuple(sorted(faces, key=lambda face: (face.box, face.score)))

    def features(self, image: NDArray[np.uint8]) -> list[Tensor]:
        """Return the backbone's maps (1, C, h, w), finest first, of ``image`` at its own size."""
        mean = torch.tensor(_MEAN_BGR, device=self._device)
        bgr = torch.from_numpy(np.ascontiguousarray(image[:, :, ::-1])).to(self._device) - mean
        with self._turn, torch.inference_mode():
            found: Any = self._network.body(bgr.permute(2, 0, 1)[None])
        return [each.float().cpu() for each in found.values()]

    def _detect_at(
        self, image: NDArray[np.uint8], long_side_px: int, threshold: float
    ) -> list[DetectedFace]:
        height, width = image.shape[:2]
        scale = min(1.0, long_side_px / max(height, width))
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            seen = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        else:
            seen = image
        with self._turn, torch.inference_mode():
            boxes, scores, landmarks = self._run(seen, threshold)
        full = np.array([width, height], np.float64)
        boxes = (boxes.reshape(-1, 2, 2) * full).clip(0, full).reshape(-1, 4)
        landmarks = landmarks.reshape(-1, 5, 2) * full
        return [
            DetectedFace((float(b[0]), float(b[1]), float(b[2]), float(b[3])), points, float(score))
            for b, points, score in zip(boxes, landmarks, scores, strict=True)
        ]

    def _run(self, image: NDArray[np.uint8], threshold: float) -> tuple[NDArray[Any], ...]:
        """Return boxes (N, 4), scores (N,) and landmarks (N, 10) in fractions of the image."""
        from facexlib.detection import retinaface_utils as boxes_of  # noqa: PLC0415 - heavy

        height, width = image.shape[:2]
        bgr = torch.from_numpy(np.ascontiguousarray(image[:, :, ::-1])).to(self._device)
        mean = torch.tensor(_MEAN_BGR, device=self._device)
        location, classes, points = self._network((bgr - mean).permute(2, 0, 1)[None])
        scores = classes[0, :, 1].float()
        likely = (scores > threshold).nonzero().squeeze(1)
        likely = likely[scores[likely].argsort(descending=True, stable=True)[:_MAX_CANDIDATES]]
        priors = _anchors(height, width, self._network.cfg).to(self._device)[likely]
        variance = self._network.cfg["variance"]
        boxes = boxes_of.decode(location[0, likely], priors, variance).cpu()
        landmarks = boxes_of.decode_landm(points[0, likely], priors, variance).cpu()
        scored = torch.cat((boxes, scores[likely].cpu()[:, None]), 1).numpy()
        keep = [int(index) for index in boxes_of.py_cpu_nms(scored, _OVERLAP)]
        return boxes.numpy()[keep], scored[keep, 4], landmarks.numpy()[keep]


def _steadier(face: DetectedFace, smaller: list[DetectedFace], over_px: float) -> DetectedFace:
    """Prefer the same face in a smaller copy if this one is so large that its landmarks jitter."""
    if face.long_side_px <= over_px:
        return face
    same = max(smaller, key=face.overlap, default=None)
    return same if same is not None and face.overlap(same) > _OVERLAP else face


def _anchors(height: int, width: int, config: Mapping[str, Any]) -> Tensor:
    """Return RetinaFace's anchors, (N, 4): centre and size as fractions, in the network's order."""
    levels = []
    for step, sizes in zip(config["steps"], config["min_sizes"], strict=True):
        rows, columns = -(-height // step), -(-width // step)
        y, x, size = torch.meshgrid(
            (torch.arange(rows) + 0.5) * (step / height),
            (torch.arange(columns) + 0.5) * (step / width),
            torch.tensor(sizes, dtype=torch.float32),
            indexing="ij",
        )
        levels.append(torch.stack((x, y, size / width, size / height), -1).reshape(-1, 4))
    return torch.cat(levels)


def build_detector(name: str, state: Mapping[str, Tensor], device: torch.device) -> FaceDetector:
    """Return ``retinaface-mobilenet0.25`` or ``retinaface-resnet50`` with these weights.

    Raises WeightsInvalid if a key is missing, unknown or of the wrong shape.
    """
    network = _make_network(_FACEXLIB_NAMES[name], device)
    # Checkpoints of torch.nn.DataParallel have "module." before each key.
    state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsInvalid(f"not the weights of {name}: {error!s:.300}") from None
    network = network.eval().to(memory_format=torch.channels_last)
    return FaceDetector(network.requires_grad_(False), name, device)


def _make_network(name: str, device: torch.device) -> Any:
    import_torchvision()
    from facexlib.detection.retinaface import RetinaFace  # noqa: PLC0415 - after import_torchvision

    with warnings.catch_warnings():
        # facexlib passes pretrained=False, which torchvision has renamed.
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        return RetinaFace(network_name=name, device=device)
