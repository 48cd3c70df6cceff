"""Where in a restored crop there is face: ParseNet's mask, where the operator has its weights.

facexlib has the network; see ``faces`` for the other half of what is taken from there.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from shared.errors import WeightsInvalid
from worker.engine.faces.torchvision_ops import import_torchvision
from worker.imaging.decode import Pixels
from worker.imaging.geometry import Floats
from worker.weights.catalogue import CATALOGUE, PARSER
from worker.weights.files import checked_path, load_state, of_file, require_licence

_SIDE_PX = 512
_CLASSES = 19
_NOT_FACE = [0, 14, 18]  # background, hat, cloth
_BORDER_PX = 26
_SIGMA_PX = 4.0


class FaceParser:
    """Safe to call from many threads; they take turns."""

    def __init__(self, network: Any, device: torch.device) -> None:
        self._network, self._device = network, device
        self._turn = threading.Lock()

    def mask(self, crop: Pixels) -> Floats:
        """How much of each pixel of a crop, uint8 RGB (S, S, 3), is face: float32 (S, S), 0…1.

        Soft at the edge; nothing near the border, and nothing at all where there is no face.
        """
        size = (_SIDE_PX, _SIDE_PX)
        seen = crop if len(crop) == _SIDE_PX else cv2.resize(crop, size)
        found = (~np.isin(self._classes(np.asarray(seen, np.uint8)), _NOT_FACE)).astype(np.float32)
        inside = np.zeros_like(found)
        middle = slice(_BORDER_PX, -_BORDER_PX)
        inside[middle, middle] = found[middle, middle]
        for _ in range(2):
            inside = np.asarray(cv2.GaussianBlur(inside, (0, 0), _SIGMA_PX), np.float32)
        if len(crop) != _SIDE_PX:
            inside = np.asarray(cv2.resize(inside, (len(crop), len(crop))), np.float32)
        return inside.clip(0, 1)

    def _classes(self, image: Pixels) -> Any:
        x = torch.from_numpy(np.ascontiguousarray(image)).to(self._device)
        with self._turn, torch.inference_mode():
            scores, _ = self._network((x.permute(2, 0, 1)[None].float() / 127.5) - 1)
        return scores[0].argmax(0).cpu().numpy()


def load_parser(
    models_dir: Path, device: torch.device, *, accepted_licences: Collection[str] = ()
) -> FaceParser | None:
    """The parser whose file is in ``models_dir``, or None.

    Raises LicenceNotAccepted, or WeightsInvalid for a file that is not what it should be.
    """
    entry = CATALOGUE[PARSER]
    if not entry.path(models_dir).is_file():
        return None
    require_licence(entry, accepted_licences)
    path, _ = checked_path(entry, models_dir)
    with of_file(path):
        return build_parser(load_state(path), device)


def build_parser(state: Mapping[str, Tensor], device: torch.device) -> FaceParser:
    """ParseNet with these weights; raises WeightsInvalid for those of another network."""
    import_torchvision()
    from facexlib.parsing.parsenet import ParseNet  # noqa: PLC0415 - after torchvision's cure

    network = ParseNet(in_size=_SIDE_PX, out_size=_SIDE_PX, parsing_ch=_CLASSES)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsInvalid(f"not the weights of {PARSER}: {error!s:.300}") from None
    network = network.eval().to(device, memory_format=torch.channels_last)
    return FaceParser(network.requires_grad_(False), device)
