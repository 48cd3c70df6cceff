"""ParseNet's mask, with random weights: no file of it may be shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.errors import LicenceNotAccepted, WeightsInvalid
from tests.worker.engine.conftest import CPU
from worker.engine.faces.parsing import FaceParser, build_parser, load_parser
from worker.engine.faces.torchvision_ops import import_torchvision

CLASSES = 19


class Seeing(nn.Module):
    """A network that sees one class in each pixel, told by the pixel's red."""

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        seen = ((x[0, 0] + 1) * 127.5).round().long()
        return nn.functional.one_hot(seen, CLASSES).permute(2, 0, 1)[None].float(), None


def mask_of(classes: NDArray[Any]) -> NDArray[np.float32]:
    crop = np.repeat(classes[:, :, None], 3, axis=2).astype(np.uint8)
    return FaceParser(Seeing(), CPU).mask(crop)


@pytest.mark.parametrize("kind", range(CLASSES))
def test_all_is_face_but_background_hat_and_cloth(kind: int) -> None:
    mask = mask_of(np.full((512, 512), kind))
    assert mask[256, 256] == pytest.approx(0 if kind in {0, 14, 18} else 1, abs=1e-6)


def test_the_border_is_not_trusted_and_the_edge_is_soft() -> None:
    mask = mask_of(np.full((512, 512), 1))
    assert mask[0].max() < 1e-4
    assert 0.2 < mask[256, 26] < 0.8
    assert mask[256, 60] == pytest.approx(1, abs=1e-4)
    across = np.diff(mask[256, :60])
    assert (across > -1e-6).all()
    assert across.max() < 0.1


@pytest.mark.parametrize("size_px", [128, 1024])
def test_crops_of_other_sizes_get_masks_of_theirs(size_px: int) -> None:
    classes = np.zeros((size_px, size_px))
    classes[:, : size_px // 2] = 1
    mask = mask_of(classes)
    assert mask.shape == (size_px, size_px)
    assert mask[size_px // 2, size_px // 4] == pytest.approx(1, abs=1e-3)
    assert mask[size_px // 2, 3 * size_px // 4] == pytest.approx(0, abs=1e-3)


def random_state() -> dict[str, Tensor]:
    import_torchvision()
    from facexlib.parsing.parsenet import ParseNet

    torch.manual_seed(3)
    return dict(ParseNet(in_size=512, out_size=512, parsing_ch=CLASSES).state_dict())


def test_weights_of_the_right_shapes_make_a_mask(tmp_path: Path) -> None:
    path = tmp_path / "parsing_parsenet.pth"
    torch.save(random_state(), path)
    parser = build_parser(torch.load(path, weights_only=True), CPU)
    crop = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    mask = parser.mask(crop)
    assert (mask.shape, mask.dtype) == ((64, 64), np.float32)
    assert 0 <= mask.min() <= mask.max() <= 1


def test_weights_with_a_key_too_few_are_refused() -> None:
    state = random_state()
    del state["out_mask_conv.conv2d.bias"]
    with pytest.raises(WeightsInvalid, match=r"out_mask_conv\.conv2d\.bias"):
        build_parser(state, CPU)


def test_without_the_file_there_is_no_parser(tmp_path: Path) -> None:
    assert load_parser(tmp_path, CPU) is None


def test_another_file_is_refused_and_so_is_a_licence_that_nobody_accepted(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "parsing_parsenet.pth")
    with pytest.raises(LicenceNotAccepted, match="parsenet-unstated"):
        load_parser(tmp_path, CPU)
    with pytest.raises(WeightsInvalid, match="sha256"):
        load_parser(tmp_path, CPU, accepted_licences=["parsenet-unstated"])
