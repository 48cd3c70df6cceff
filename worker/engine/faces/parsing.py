"""Face parsing: ParseNet's mask of a restored crop, if the operator has its weights.

The network's code is in facexlib (github.com/xinntao/facexlib).
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from shared.errors import WeightsInvalid
from worker.engine.devices import Device, torch_device
from worker.imaging.decode import Pixels
from worker.imaging.geometry import Floats
from worker.weights.catalogue import CATALOGUE, PARSER
from worker.weights.model_entry import require_licence
from worker.weights.safe_loading import errors_name_file, load_state
from worker.weights.verification import verified_path

if TYPE_CHECKING:
    from torch import Tensor

_SIDE_PX = 512
_CLASSES = 19
_NOT_FACE = [0, 14, 18]  # background, hat, cloth
_BORDER_PX = 26
_SIGMA_PX = 4.0


class FaceParser:
    """ParseNet on a device. It is thread-safe: calls take turns."""

    def __init__(self, network: Any, device: Device) -> None:
        self._network, self._device = network, torch_device(device)
        self._turn = threading.Lock()

    def mask(self, crop: Pixels) -> Floats:
        """Return the share of face in each pixel of a crop, uint8 RGB (S, S, 3): float32 (S, S).

        The edge of the mask is soft. The mask is 0 near the border, and everywhere if the crop
        holds no face.
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
        import torch  # noqa: PLC0415 - takes two seconds

        x = torch.from_numpy(np.ascontiguousarray(image)).to(self._device)
        with self._turn, torch.inference_mode():
            scores, _ = self._network((x.permute(2, 0, 1)[None].float() / 127.5) - 1)
        return scores[0].argmax(0).cpu().numpy()


def load_parser(
    models_dir: Path, device: Device, *, accepted_licences: Collection[str] = ()
) -> FaceParser | None:
    """Load the parser from its file in ``models_dir``; return None if there is no file.

    Raises LicenceNotAccepted, or WeightsInvalid if the file has the wrong hash or content.
    """
    entry = CATALOGUE[PARSER]
    if not entry.path(models_dir).is_file():
        return None
    require_licence(entry, accepted_licences)
    path, _ = verified_path(entry, models_dir)
    with errors_name_file(path):
        return build_parser(load_state(path), device)


def build_parser(state: Mapping[str, Tensor], device: Device) -> FaceParser:
    """Return ParseNet with these weights; raises WeightsInvalid if they are another network's."""
    from worker.engine.faces.torchvision_compat import import_torchvision  # noqa: PLC0415 - torch

    import_torchvision()
    import torch  # noqa: PLC0415 - takes two seconds
    from facexlib.parsing.parsenet import ParseNet  # noqa: PLC0415 - after import_torchvision

    network = ParseNet(in_size=_SIDE_PX, out_size=_SIDE_PX, parsing_ch=_CLASSES)
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsInvalid(f"not the weights of {PARSER}: {error!s:.300}") from None
    network = network.eval().to(torch_device(device), memory_format=torch.channels_last)
    return FaceParser(network.requires_grad_(False), device)
