"""Networks of random weights enlarge in tiles what spandrel's own network enlarges whole."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.errors import ModelUnavailable, OutOfMemory, WeightsInvalid
from tests.worker.engine.brought_models.test_spandrel_artifacts import restoreformer
from tests.worker.engine.enlarging_networks import (
    MAKERS,
    Pixels,
    as_spandrel_draws,
    drawing,
    enlarging,
    grey,
    save,
)
from worker.engine.background.rrdbnet import RRDBNet
from worker.engine.background.tiles import Span
from worker.engine.background.upscaler import Finish, OnStep, Upscaler
from worker.engine.brought_models.spandrel_upscaler import SpandrelNetwork, load_upscaler_network
from worker.engine.devices import CPU

pytestmark = pytest.mark.usefixtures("one_torch_thread")

#: These have no attention to the mean of the whole picture, so tiles change nothing but rounding.
LOCAL = [name for name in MAKERS if name.split("-")[0] not in {"hat", "dat", "cugan", "plksr"}]


@pytest.fixture
def picture(astronaut_pixels: Pixels) -> Pixels:
    """So wide that it is cut into two tiles; neither side is a multiple of anything."""
    return astronaut_pixels[100:141, 50:453]


def levels_apart(a: NDArray[np.generic], b: NDArray[np.generic]) -> NDArray[np.int64]:
    return np.abs(a.astype(np.int64) - b.astype(np.int64))


def brought(network: nn.Module, folder: Path, precision: str = "fp32") -> Upscaler:
    return Upscaler(load_upscaler_network(save(network, folder / "other.pth")), CPU, precision)


@pytest.mark.parametrize("name", LOCAL)
def test_tiles_of_a_local_network_equal_the_whole_picture_of_spandrel(
    tmp_path: Path, picture: Pixels, name: str
) -> None:
    if "folded" in name:
        picture = picture[:40, :400]  # spandrel reflects the last pixels, we repeat them
    told: list[int] = []
    upscaler = brought(drawing(name, picture), tmp_path)
    found = upscaler.upscale(picture, on_pixels=lambda done, _: told.append(done))
    expected = as_spandrel_draws(tmp_path / "other.pth", picture)
    assert found.shape == expected.shape
    assert levels_apart(found, expected).max() <= 1
    assert len(told) >= 2  # tiles, or blocks
    assert expected.std() > 15  # a picture, not a plain


@pytest.mark.parametrize("name", ["hat-x2", "dat-x2", "cugan-x2", "plksr-x2"])
def test_tiles_of_a_network_that_sees_the_whole_picture_come_close(
    tmp_path: Path, picture: Pixels, name: str
) -> None:
    found = brought(drawing(name, picture), tmp_path).upscale(picture)
    expected = as_spandrel_draws(tmp_path / "other.pth", picture)
    assert levels_apart(found, expected).max() <= 3
    assert levels_apart(found, expected).mean() < 0.1
    assert expected.std() > 15


def test_without_a_margin_the_seam_shows(tmp_path: Path, picture: Pixels) -> None:
    network = load_upscaler_network(save(drawing("compact-x4", picture), tmp_path / "other.pth"))
    seam = 192 * 4  # tiles begin at multiples of 32
    apart = levels_apart(
        Upscaler(network, CPU, "fp32", margin_px=0).upscale(picture),
        as_spandrel_draws(tmp_path / "other.pth", picture),
    )
    assert apart[:, seam - 4 : seam + 4].max() > 3
    assert apart[:, : seam - 32].max() <= 1
    assert apart[:, seam + 32 :].max() <= 1


def test_tiles_that_begin_inside_a_window_of_attention_differ(
    tmp_path: Path, picture: Pixels
) -> None:
    network = load_upscaler_network(save(drawing("swinir-x2", picture), tmp_path / "other.pth"))
    assert isinstance(network, SpandrelNetwork)
    network.grid = 1
    apart = levels_apart(
        Upscaler(network, CPU, "fp32").upscale(picture),
        as_spandrel_draws(tmp_path / "other.pth", picture),
    )
    assert apart.max() > 5


@pytest.mark.parametrize("name", ["swinir-x2", "ditn-x2", "cugan-x2", "esrgan-folded-x2"])
@pytest.mark.parametrize("sides", [(1, 1), (5, 7), (17, 41)])
def test_a_photo_smaller_than_the_network_wants_is_padded(
    tmp_path: Path, picture: Pixels, name: str, sides: tuple[int, int]
) -> None:
    small = picture[: sides[0], : sides[1]]
    found = brought(drawing(name, picture), tmp_path).upscale(small)
    assert found.shape == (sides[0] * 2, sides[1] * 2, 3)
    if "esrgan" not in name:
        expected = as_spandrel_draws(tmp_path / "other.pth", small)
        assert levels_apart(found, expected).max() <= 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("esrgan-x4", RRDBNet),
        ("esrgan-folded-x2", RRDBNet),
        ("esrgan-x2", SpandrelNetwork),
        ("esrgan-plus-x4", SpandrelNetwork),
    ],
)
def test_the_form_of_real_esrgan_runs_in_our_own_network(
    tmp_path: Path, name: str, kind: type
) -> None:
    network = load_upscaler_network(save(MAKERS[name](), tmp_path / "other.safetensors"))
    assert type(network) is kind
    assert network.scale == int(name[-1])


def test_bf16_is_used_if_it_is_named_and_comes_close(tmp_path: Path, picture: Pixels) -> None:
    half = brought(drawing("span-x2", picture), tmp_path, "bf16").upscale(picture)
    apart = levels_apart(half, as_spandrel_draws(tmp_path / "other.pth", picture))
    assert 0 < apart.mean() < 2


def test_a_precision_that_the_network_does_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"SwinIR.*fp16; set FACEMEND_PRECISION=fp32"):
        brought(MAKERS["swinir-x2"](), tmp_path, "fp16")


class Cramped(SpandrelNetwork):
    """A network on a device with memory for ``room`` pixels."""

    room = 0

    def draw(
        self, x: Tensor, rows: Span, columns: Span, finish: Finish, on_step: OnStep
    ) -> NDArray[np.float32]:
        if x.shape[2] * x.shape[3] > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return super().draw(x, rows, columns, finish, on_step)


@pytest.fixture
def cramped(tmp_path: Path, picture: Pixels) -> Callable[[int], Upscaler]:
    def make(room: int) -> Upscaler:
        path = save(drawing("compact-x4", picture), tmp_path / "other.pth")
        network = load_upscaler_network(path)
        assert isinstance(network, SpandrelNetwork)
        network.__class__ = Cramped
        vars(network)["room"] = room
        return Upscaler(network, CPU, "fp32")

    return make


def test_tiles_are_halved_until_they_fit(
    tmp_path: Path, picture: Pixels, cramped: Callable[[int], Upscaler]
) -> None:
    found = cramped(41 * 200).upscale(picture)
    expected = as_spandrel_draws(tmp_path / "other.pth", picture)
    assert levels_apart(found, expected).max() <= 1


def test_tiles_are_not_halved_for_ever(picture: Pixels, cramped: Callable[[int], Upscaler]) -> None:
    with pytest.raises(OutOfMemory, match="even a tile of"):
        cramped(10).upscale(picture)


class Failing(nn.Module):
    """A network that raises an error, or returns too few pixels."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] < 40:
            raise RuntimeError("expected a multiple of 40")
        return x


@pytest.mark.parametrize(
    ("rows", "said"), [(41, r"returns 403 x 41 px"), (8, "Compact.*expected a multiple of 40")]
)
def test_a_network_that_cannot_run_is_an_error_in_words(
    tmp_path: Path, picture: Pixels, rows: int, said: str
) -> None:
    network = load_upscaler_network(save(enlarging(4), tmp_path / "other.pth"))
    assert isinstance(network, SpandrelNetwork)
    vars(network._descriptor)["_model"] = Failing()
    with pytest.raises(ModelUnavailable, match=said):
        Upscaler(network, CPU, "fp32", tile_px=500).upscale(picture[:rows])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (grey, "takes 1 and returns 1 channels: a background needs the form for colour"),
        (lambda: enlarging(1), "Compact leaves a picture as large as it is"),
        (lambda: enlarging(3), "enlarges 3 times: .* bring its form for x2 or x4"),
        (lambda: enlarging(8), "enlarges 8 times"),
        (restoreformer, "RestoreFormer restores faces .*add it without --kind"),
        (lambda: nn.Linear(3, 3), "not those of a network for super-resolution"),
    ],
)
def test_a_network_for_something_else_is_refused_in_words(
    tmp_path: Path, make: Callable[[], nn.Module], said: str
) -> None:
    with pytest.raises(WeightsInvalid, match=rf"other\.pth.*{said}"):
        load_upscaler_network(save(make(), tmp_path / "other.pth"))


def test_a_file_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    path = save(enlarging(2), tmp_path / "other.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsInvalid, match=r"other\.safetensors cannot be read as weights"):
        load_upscaler_network(path)


def test_weights_of_which_a_part_is_missing_are_refused(tmp_path: Path) -> None:
    state = enlarging(2).state_dict()
    del state["body.2.bias"]
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(WeightsInvalid, match=r"other\.pth.*cannot be loaded.*body\.2\.bias"):
        load_upscaler_network(tmp_path / "other.pth")


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"params": enlarging(2).state_dict(), "extra": Path("code")}, tmp_path / "other.pth")
    with pytest.raises(WeightsInvalid, match="nothing in it was loaded or run"):
        load_upscaler_network(tmp_path / "other.pth")


def test_without_spandrel_the_error_names_the_command_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(enlarging(2), tmp_path / "other.pth")
    monkeypatch.setitem(sys.modules, "spandrel", None)  # as if it were not installed
    with pytest.raises(ModelUnavailable, match=r"run: pip install 'facemend\[spandrel\]'"):
        load_upscaler_network(path)
