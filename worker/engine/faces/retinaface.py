"""RetinaFace's network: facexlib's module in torch, and its export for other runtimes.

Only this file uses BGR.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.errors import ModelUnavailable, WeightsInvalid
from worker.engine.devices import Device, torch_device
from worker.engine.faces.detector import DetectorNetwork, Floats
from worker.engine.faces.torchvision_compat import import_torchvision

_FACEXLIB_NAMES = {"retinaface-mobilenet0.25": "mobile0.25", "retinaface-resnet50": "resnet50"}
_MEAN_BGR = (104.0, 117.0, 123.0)
#: Opset 17 is the newest that torch's exporter by tracing writes without a conversion.
_OPSET = 17
_IMAGE, _OUTPUTS = "image", ("offsets", "scores", "points")
#: The largest difference of an exported network's output, of which few values exceed 10.
_TOLERANCE = 1e-4


class RetinaFaceNetwork:
    """RetinaFace in torch on its device; a `DetectorNetwork`."""

    def __init__(self, network: Any, name: str, device: Device) -> None:
        self.name = name
        self._whole = _Whole(network, torch_device(device)).eval().requires_grad_(False)
        self._device = torch_device(device)

    def __call__(self, image: NDArray[np.uint8]) -> tuple[Floats, Floats, Floats]:
        """See `DetectorNetwork`."""
        with torch.inference_mode():
            offsets, scores, points = self._whole(torch.tensor(image, device=self._device))
            return offsets.cpu().numpy(), scores.cpu().numpy(), points.cpu().numpy()

    def features(self, image: NDArray[np.uint8]) -> list[Tensor]:
        """Return the backbone's maps (1, C, h, w), finest first, of ``image`` at its own size."""
        with torch.inference_mode():
            x = torch.tensor(np.ascontiguousarray(image), device=self._device)
            found = self._whole.network.body(self._whole.network_input(x))
        return [each.float().cpu() for each in found.values()]

    def export(self, file: Path) -> None:
        """Write the network as an ONNX graph for images of any size."""
        sample = torch.zeros((96, 64, 3), dtype=torch.uint8)
        axes = {_IMAGE: {0: "height", 1: "width"}} | {name: {0: "anchors"} for name in _OUTPUTS}
        with warnings.catch_warnings(), torch.inference_mode():
            # The exporter that does not trace needs one more package, onnxscript.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", UserWarning)
            torch.onnx.export(
                self._whole,
                (sample,),
                file,
                dynamo=False,
                opset_version=_OPSET,
                input_names=[_IMAGE],
                output_names=list(_OUTPUTS),
                dynamic_axes=axes,
            )


class _Whole(nn.Module):
    """The network from uint8 RGB (H, W, 3) to offsets, scores and points of its anchors."""

    def __init__(self, network: Any, device: torch.device) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(_MEAN_BGR, device=device))

    def network_input(self, image: Tensor) -> Tensor:
        bgr = image[:, :, [2, 1, 0]].float() - self.get_buffer("mean")
        return bgr.permute(2, 0, 1)[None]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        offsets, classes, points = self.network(self.network_input(image))
        return offsets[0], classes[0, :, 1].float(), points[0]


def build_network(name: str, state: Mapping[str, Tensor], device: Device) -> RetinaFaceNetwork:
    """Return ``retinaface-mobilenet0.25`` or ``retinaface-resnet50`` with these weights.

    Raises WeightsInvalid if a key is missing, unknown or of the wrong shape.
    """
    network = make_network(name, device)
    # Checkpoints of torch.nn.DataParallel have "module." before each key.
    state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise WeightsInvalid(f"not the weights of {name}: {error!s:.300}") from None
    return RetinaFaceNetwork(network.eval().to(memory_format=torch.channels_last), name, device)


def make_network(name: str, device: Device) -> Any:
    """Return facexlib's network with random weights."""
    import_torchvision()
    from facexlib.detection.retinaface import RetinaFace  # noqa: PLC0415 - after import_torchvision

    with warnings.catch_warnings():
        # facexlib passes pretrained=False, which torchvision has renamed.
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        return RetinaFace(network_name=_FACEXLIB_NAMES[name], device=torch_device(device))


def require_equal(exported: DetectorNetwork, network: DetectorNetwork) -> None:
    """Raise ModelUnavailable unless both give the same for a seeded image."""
    image = np.random.default_rng(7).integers(0, 256, (160, 208, 3), dtype=np.uint8)
    pairs = zip(exported(image), network(image), strict=True)
    error = max(float(np.abs(found - expected).max()) for found, expected in pairs)
    if not error <= _TOLERANCE:  # true for NaN too
        raise ModelUnavailable(f"the exported detector differs from torch's by {error:.2g}")
