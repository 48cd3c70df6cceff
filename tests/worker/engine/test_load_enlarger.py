"""The weights that enlarge a background, and the error if there are none."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from shared.errors import WeightsInvalid, WeightsMissing
from tests.worker.engine.enlarging_networks import enlarging, save
from worker.engine import devices
from worker.engine.background.rrdbnet import RRDBConfig, RRDBNet
from worker.engine.load_enlarger import load_enlarger
from worker.imaging.decode import Photo
from worker.weights.catalogue import CATALOGUE
from worker.weights.verification import file_sha256

CPU = torch.device("cpu")


@pytest.mark.usefixtures("one_torch_thread")
def test_the_packaged_weights_serve_both_scales(
    tmp_path: Path, astronaut_pixels: NDArray[np.uint8]
) -> None:
    enlarger, photo = load_enlarger(tmp_path, CPU, "fp32"), Photo(astronaut_pixels[80:100, 200:224])
    used = enlarger.prepare(photo, 2)
    assert used
    assert (used.name, used.averaged) == ("realesrgan-x4plus-ncnn", True)
    assert used.sha256 == CATALOGUE[used.name].sha256
    assert enlarger.enlarge(photo, 2, lambda *_: None).pixels.shape == (40, 48, 3)
    by_four = enlarger.prepare(photo, 4)
    assert by_four
    assert not by_four.averaged


@pytest.mark.parametrize(("scale", "first"), [(2, "realesrgan-x2plus"), (4, "realesrgan-x4plus")])
def test_a_downloaded_file_has_precedence_and_must_have_the_published_hash(
    tmp_path: Path, scale: int, first: str
) -> None:
    state = RRDBNet(RRDBConfig(features=8, growth=4, blocks=1)).state_dict()
    for name in ("realesrgan-x2plus", "realesrgan-x4plus"):
        torch.save({"params_ema": state}, tmp_path / CATALOGUE[name].file)
    enlarger = load_enlarger(tmp_path, CPU, "fp32")
    with pytest.raises(WeightsInvalid) as failure:
        enlarger.prepare(Photo(np.zeros((16, 16, 3), np.uint8)), scale)
    assert CATALOGUE[first].file in failure.value.detail
    assert str(CATALOGUE[first].sha256) in failure.value.detail


@pytest.mark.parametrize(("scale", "model"), [(2, "x2plus"), (4, "x4plus")])
def test_the_error_for_missing_weights_names_both_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scale: int, model: str
) -> None:
    package = CATALOGUE["realesrgan-x4plus-ncnn"].package
    monkeypatch.setitem(sys.modules, str(package), None)  # as if it were not installed
    with pytest.raises(WeightsMissing) as failure:
        load_enlarger(tmp_path, CPU, "fp32").prepare(Photo(np.zeros((16, 16, 3), np.uint8)), scale)
    assert failure.value.code == "model-unavailable"
    assert "pip install 'facemend[background]'" in failure.value.detail
    assert f"facemend models pull realesrgan-{model}" in failure.value.detail


def test_every_upscaler_of_the_catalogue_has_a_scale() -> None:
    upscalers = [entry for entry in CATALOGUE.values() if entry.kind == "upscaler"]
    assert upscalers == [entry for entry in CATALOGUE.values() if entry.scale]
    assert all(entry.licence == "BSD-3-Clause" for entry in upscalers)


def add(folder: Path, name: str, enlarges: int, **stated: object) -> None:
    """An upscaler as ``facemend models add`` leaves it."""
    path = save(enlarging(enlarges), folder / f"{name}.pth")
    about = {"kind": "upscaler", "format": "spandrel", "file": path.name, "licence": "MIT"}
    about |= {"sha256": file_sha256(path), "bytes": path.stat().st_size, "good_at": ""}
    (folder / f"{name}.json").write_text(json.dumps({**about, "scale": enlarges, **stated}))


def used(folder: Path, scale: int) -> str:
    found = load_enlarger(folder, CPU, "fp32").prepare(
        Photo(np.zeros((16, 16, 3), np.uint8)), scale
    )
    assert found
    return found.name


def test_an_added_upscaler_has_precedence_over_those_of_the_same_scale(tmp_path: Path) -> None:
    add(tmp_path, "b", 4)
    assert (used(tmp_path, 2), used(tmp_path, 4)) == ("b", "b")
    add(tmp_path, "a", 4)
    assert (used(tmp_path, 2), used(tmp_path, 4)) == ("a", "a")
    add(tmp_path, "c", 2)
    assert (used(tmp_path, 2), used(tmp_path, 4)) == ("c", "a")


def test_the_smallest_scale_that_is_enough_has_precedence(tmp_path: Path) -> None:
    (tmp_path / CATALOGUE["realesrgan-x2plus"].file).write_bytes(b"with another hash")
    add(tmp_path, "mine", 4)
    with pytest.raises(WeightsInvalid, match=r"RealESRGAN_x2plus\.pth"):
        used(tmp_path, 2)
    add(tmp_path, "yours", 2)
    assert used(tmp_path, 2) == "yours"


@pytest.mark.parametrize(("wanted", "precision"), [("auto", "fp32"), ("bf16", "bf16")])
def test_bf16_is_used_for_a_network_of_spandrel_only_if_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str, precision: str
) -> None:
    monkeypatch.setattr(devices, "cpu_features", lambda: frozenset({"avx512_bf16"}))
    add(tmp_path, "mine", 4)
    photo = Photo(np.zeros((16, 16, 3), np.uint8))
    found = load_enlarger(tmp_path, CPU, wanted).prepare(photo, 4)
    assert found
    assert (found.name, found.precision) == ("mine", precision)
    (tmp_path / "mine.json").unlink()
    of_package = load_enlarger(tmp_path, CPU, wanted).prepare(photo, 4)
    assert of_package
    assert (of_package.name, of_package.precision) == ("realesrgan-x4plus-ncnn", "bf16")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"scale": 2}, r"mine\.pth enlarges 4 times, not 2"),
        ({"scale": 3}, r"mine\.json is not the entry of a model"),
        ({"kind": "painter"}, r"mine\.json is not the entry of a model"),
        ({"in_px": 64}, r"mine\.json is not the entry of a model"),
    ],
)
def test_an_entry_that_does_not_fit_its_network_is_refused(
    tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    add(tmp_path, "mine", 4, **changed)
    with pytest.raises(WeightsInvalid, match=said):
        used(tmp_path, 2)
