"""Networks for super-resolution as spandrel has them, small and with random weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from worker.engine.faces.torchvision_compat import import_torchvision

Pixels = NDArray[np.uint8]


def _of(architecture: str, name: str, **sizes: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import_torchvision()
        from spandrel import architectures

        torch.manual_seed(2)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.meshgrid")
            made: nn.Module = getattr(getattr(architectures, architecture), name)(**sizes)
        return made.eval()

    return make


#: By name: a network, and how many times it enlarges.
MAKERS: dict[str, Callable[[], nn.Module]] = {
    "esrgan-x4": _of("ESRGAN", "ESRGAN", num_filters=8, num_blocks=2),
    "esrgan-x2": _of("ESRGAN", "ESRGAN", num_filters=8, num_blocks=2, scale=2),
    "esrgan-folded-x2": _of(
        "ESRGAN", "ESRGAN", in_nc=12, num_filters=8, num_blocks=2, shuffle_factor=2
    ),
    "esrgan-plus-x4": _of("ESRGAN", "ESRGAN", num_filters=8, num_blocks=5, plus=True),
    "compact-x4": _of(
        "Compact", "Compact", num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=2, upscale=4
    ),
    "span-x2": _of("SPAN", "SPAN", num_in_ch=3, num_out_ch=3, feature_channels=12, upscale=2),
    "swinir-x2": _of(
        "SwinIR",
        "SwinIR",
        img_size=64,
        patch_size=1,
        in_chans=3,
        embed_dim=12,
        depths=[2],
        num_heads=[2],
        window_size=8,
        mlp_ratio=2,
        upscale=2,
        upsampler="pixelshuffledirect",
        resi_connection="1conv",
    ),
    "hat-x2": _of(
        "HAT",
        "HAT",
        embed_dim=12,
        depths=[2],
        num_heads=[2],
        window_size=8,
        mlp_ratio=2,
        upscale=2,
        upsampler="pixelshuffle",
        compress_ratio=3,
        squeeze_factor=6,
        overlap_ratio=0.5,
    ),
    "dat-x2": _of(
        "DAT",
        "DAT",
        embed_dim=32,
        depth=[2],
        num_heads=[2],
        split_size=[8, 16],
        expansion_factor=2,
        upscale=2,
        upsampler="pixelshuffledirect",
    ),
    "ditn-x2": _of(
        "DITN", "DITN", dim=12, ITL_blocks=1, SAL_blocks=1, UFONE_blocks=1, patch_size=8, upscale=2
    ),
    "cugan-x2": _of("RealCUGAN", "UpCunet2x"),
    "plksr-x2": _of("PLKSR", "RealPLKSR", dim=16, n_blocks=1, upscaling_factor=2, kernel_size=7),
}


def grey() -> nn.Module:
    return _of("Compact", "Compact", num_in_ch=1, num_out_ch=1, num_feat=8, num_conv=2, upscale=4)()


def enlarging(scale: int) -> nn.Module:
    """A network that enlarges ``scale`` times; 1 is one that restores."""
    sizes = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_conv": 2, "upscale": scale}
    return _of("Compact", "Compact", **sizes)()


def drawing(name: str, picture: Pixels) -> nn.Module:
    """One of `MAKERS` whose output is a picture: few of its pixels are cut off at black or white.

    SwinIR's attention, which random weights leave weak, is strong.
    """
    network = MAKERS[name]()
    for key, weights in network.named_parameters():
        if name.startswith("swinir") and ".attn." in key:
            weights.data *= 8
    if name.startswith("esrgan"):
        last = network.model[-1]  # type: ignore[index, union-attr]  # a sequence of layers
    elif name.startswith("span"):
        last = network.upsampler[0]  # type: ignore[index, union-attr]  # the same
    else:
        return network
    side = picture.shape[0] // 4 * 4
    with torch.inference_mode():
        raw = network(_tensor(picture[:side, :side]))
    by = 5 * raw.std()
    last.bias.data = 0.5 + (last.bias.data - raw.mean()) / by
    last.weight.data /= by
    return network


def save(network: nn.Module, path: Path) -> Path:
    state = {key: tensor.clone().contiguous() for key, tensor in network.state_dict().items()}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"params": state}, path)
    return path


def as_spandrel_draws(path: Path, picture: Pixels) -> Pixels:
    """The whole picture as spandrel's own loader and network enlarge it."""
    import_torchvision()
    from spandrel import ModelLoader

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.meshgrid")
        descriptor = ModelLoader("cpu").load_from_file(path).eval()
        drawn = descriptor(_tensor(picture))
    return np.asarray((drawn * 255).round()[0].permute(1, 2, 0).numpy(), np.uint8)


def _tensor(picture: Pixels) -> torch.Tensor:
    return torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1)[None]
