"""LPIPS and FID, with random weights: their formulas and what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from shared.errors import DatasetError, WeightsInvalid, WeightsMissing
from worker.engine.faces.torchvision_compat import import_torchvision
from worker.training.measure.perceptual import Fid, Lpips, frechet

HEADS = (64, 192, 384, 256, 256)
AlexnetFiles = tuple[Path, Path]


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> AlexnetFiles:
    """Weights of AlexNet and of the heads, as their authors' files hold them."""
    import_torchvision()
    from torchvision import models

    folder = tmp_path_factory.mktemp("alexnet")
    torch.manual_seed(2)
    torch.save(models.alexnet(weights=None).state_dict(), folder / "alexnet.pth")
    heads = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate(HEADS)}
    torch.save(heads, folder / "alex.pth")
    return folder / "alexnet.pth", folder / "alex.pth"


def noise(seed: int, size: int = 64) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def test_lpips_is_zero_for_the_same_picture_symmetric_and_grows_with_the_damage(
    alexnet: AlexnetFiles,
) -> None:
    lpips, photo, other = Lpips(*alexnet), noise(1), noise(2)
    assert lpips.distance(photo, photo) == 0
    assert lpips.distance(photo, other) == pytest.approx(lpips.distance(other, photo), rel=1e-5)
    little = np.clip(photo.astype(int) + 4, 0, 255).astype(np.uint8)
    assert 0 < lpips.distance(photo, little) < lpips.distance(photo, other)


def test_lpips_is_the_weighted_distance_of_unit_activations(alexnet: AlexnetFiles) -> None:
    """By its formula, written out for the first layer: all other heads are zero."""
    heads = torch.load(alexnet[1], weights_only=True)
    only_first = {k: v if k.startswith("lin0") else v * 0 for k, v in heads.items()}
    torch.save(only_first, alexnet[1].with_name("first.pth"))
    state = torch.load(alexnet[0], weights_only=True)
    first = nn.Conv2d(3, 64, 11, 4, 2)
    first.load_state_dict({"weight": state["features.0.weight"], "bias": state["features.0.bias"]})

    def unit(photo: NDArray[np.uint8]) -> NDArray[np.float64]:
        mean, deviation = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
        x = (photo / 127.5 - 1 - mean) / deviation
        with torch.no_grad():
            y = first(torch.from_numpy(x).permute(2, 0, 1)[None].float()).relu()[0].double().numpy()
        return y / (np.sqrt((y**2).sum(0)) + 1e-10)

    head = heads["lin0.model.1.weight"].double().numpy()[0, :, 0, 0]
    expected = ((unit(noise(1)) - unit(noise(2))) ** 2 * head[:, None, None]).sum(0).mean()
    found = Lpips(alexnet[0], alexnet[1].with_name("first.pth")).distance(noise(1), noise(2))
    assert found == pytest.approx(expected, rel=1e-4)


def test_what_is_not_the_file_asked_for_is_refused_by_name(
    alexnet: AlexnetFiles, tmp_path: Path
) -> None:
    network, heads = alexnet
    with pytest.raises(WeightsMissing, match=r"no weights at .*nowhere\.pth"):
        Lpips(tmp_path / "nowhere.pth", heads)
    with pytest.raises(WeightsInvalid, match=r"alex\.pth is not torchvision's alexnet"):
        Lpips(heads, heads)
    with pytest.raises(WeightsInvalid, match=r"alexnet\.pth holds no heads.*lin0\.model\.1"):
        Lpips(network, network)
    with pytest.raises(WeightsInvalid, match=r"alex\.pth is not torchvision's inception_v3"):
        Fid(heads)
    with pytest.raises(DatasetError, match="63 px"):
        Lpips(network, heads).distance(noise(1, 32), noise(2, 32))


def test_the_frechet_distance_is_that_of_the_covariances() -> None:
    """Against the textbook's formula, with the root of the product by its eigenvalues."""
    rng = np.random.default_rng(3)
    first = rng.standard_normal((200, 5)) @ rng.standard_normal((5, 5))
    second = rng.standard_normal((150, 5)) @ rng.standard_normal((5, 5)) + 0.3
    one, two = np.cov(first.T), np.cov(second.T)
    root = np.sqrt(np.linalg.eigvals(one @ two).real).sum()
    shift = first.mean(0) - second.mean(0)
    expected = shift @ shift + np.trace(one) + np.trace(two) - 2 * root
    assert frechet(first, second) == pytest.approx(expected, rel=1e-9)
    assert frechet(first, first) == pytest.approx(0, abs=1e-9)
    assert frechet(first, first + 2) == pytest.approx(5 * 4)


def test_one_picture_has_no_distribution() -> None:
    with pytest.raises(DatasetError, match="two pictures"):
        frechet(np.zeros((1, 4)), np.zeros((9, 4)))


def test_fid_is_the_distance_of_what_inception_sees(tmp_path: Path) -> None:
    import_torchvision()
    from torchvision import models

    torch.manual_seed(2)
    network = models.inception_v3(weights=None, init_weights=False)
    torch.save(network.state_dict(), tmp_path / "inception.pth")
    fid = Fid(tmp_path / "inception.pth")
    seen = fid._features([noise(1), np.full((64, 64, 3), 9, np.uint8)])
    assert seen.shape == (2, 2048)
    assert frechet(seen, seen[[0, 0]]) > 1e-3 * float(np.square(seen).mean())
