"""LPIPS and FID: nearness as networks see it, with the published weights that the operator gives.

Both use torchvision's graphs. Images are uint8 RGB H x W x 3, and lower is nearer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from shared.errors import DatasetError, WeightsInvalid, WeightsMissing
from worker.engine.faces.torchvision_compat import import_torchvision
from worker.training.data.degradations import Image
from worker.training.data.photos import to_tensor
from worker.weights.safe_loading import load_state

_BATCH = 8
_INCEPTION_PX = 299
_ALEXNET_MIN_PX = 63
#: In AlexNet's `features`: the activations whose likeness counts.
_ACTIVATIONS = (1, 4, 7, 9, 11)


class Lpips:
    """Learned perceptual distance of two images (Zhang et al., arXiv 1801.03924), AlexNet form."""

    def __init__(self, alexnet: Path, heads: Path) -> None:
        """`alexnet`: torchvision's weights; `heads`: the authors' linear layers, version 0.1."""
        self._network = torchvision_network("alexnet", alexnet).features
        state = _state(heads)
        keys = [f"lin{index}.model.1.weight" for index in range(len(_ACTIVATIONS))]
        missing = [key for key in keys if key not in state]
        if missing:
            raise WeightsInvalid(f"{heads} holds no heads of LPIPS: missing: {missing[0]}")
        self._heads = [state[key].float() for key in keys]
        self._shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
        self._scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]

    def distance(self, image: Image, reference: Image) -> float:
        if min(image.shape[:2]) < _ALEXNET_MIN_PX:
            raise DatasetError(f"LPIPS needs pictures of {_ALEXNET_MIN_PX} px at least")
        with torch.inference_mode():
            pairs = zip(self._features(image), self._features(reference), strict=True)
            parts = [
                functional.conv2d((ours - theirs).square(), head).mean()
                for (ours, theirs), head in zip(pairs, self._heads, strict=True)
            ]
        return float(torch.stack(parts).sum())

    def _features(self, image: Image) -> list[Tensor]:
        """Activations, each pixel's brought to length 1 over the channels."""
        x, found = (to_tensor([image]) - self._shift) / self._scale, []
        for index, layer in enumerate(self._network):
            x = layer(x)
            if index in _ACTIVATIONS:
                found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found


class Fid:
    """Frechet distance of two sets of images (Heusel et al., arXiv 1706.08500).

    With torchvision's Inception v3: the published figures are made with another port of it, so
    these compare only with each other.
    """

    def __init__(self, inception: Path) -> None:
        self._network = torchvision_network(
            "inception_v3", inception, transform_input=False, init_weights=False
        )
        self._network.fc = nn.Identity()

    def distance(self, images: Sequence[Image], references: Sequence[Image]) -> float:
        return frechet(self._features(images), self._features(references))

    def _features(self, images: Sequence[Image]) -> NDArray[np.float64]:
        found = []
        with torch.inference_mode():
            for start in range(0, len(images), _BATCH):
                batch = [
                    functional.interpolate(
                        to_tensor([image]), (_INCEPTION_PX,) * 2, mode="bilinear", antialias=True
                    )
                    for image in images[start : start + _BATCH]
                ]
                found.append(self._network(torch.cat(batch)).double())
        return np.asarray(torch.cat(found).numpy())


def frechet(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Distance of two Gaussians with the means and covariances of these samples, (N, D) each.

    The trace of the root of the product of the covariances is the sum of the singular values of
    the centred samples' product, which needs no D x D matrix.
    """
    if min(len(first), len(second)) < 2:
        raise DatasetError("FID needs two pictures at least")
    a, b = ((x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (first, second))
    shift = first.mean(0) - second.mean(0)
    shared = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return max(0.0, float(shift @ shift + (a**2).sum() + (b**2).sum() - 2 * shared))


def torchvision_network(name: str, path: Path, **options: Any) -> Any:
    """One of torchvision's networks with these weights, strictly."""
    state = _state(path)
    import_torchvision()
    from torchvision import models  # noqa: PLC0415 - after its cure

    make: Callable[..., Any] = getattr(models, name)
    with torch.device("meta"):  # random weights would take longer than reading real ones
        network = make(weights=None, **options)
    try:
        network.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise WeightsInvalid(f"{path} is not torchvision's {name}: {error!s:.300}") from None
    return network.eval().requires_grad_(False)


def _state(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise WeightsMissing(f"no weights at {path}")
    return load_state(path)
