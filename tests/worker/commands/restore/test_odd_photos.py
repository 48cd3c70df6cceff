"""``facemend restore`` with files that are no photos, and photos that are not plain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.worker.commands.conftest import BLANK, Facemend, only_line, opened, put
from tests.worker.engine.photos import animated, file_of, gradient, png_bomb, png_of, turned


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("text.jpg", b"hello, I am a text", "unsupported-image"),
        ("empty.png", b"", "unsupported-image"),
        ("cut.jpg", file_of(gradient(), "jpeg")[:-200], "corrupt-image"),
        ("cut.png", file_of(gradient(), "png")[:-20], "corrupt-image"),
        ("one.png", file_of(np.zeros((1, 1, 3), np.uint8), "png"), "unsupported-image"),
        ("bomb.png", png_bomb(20_000), "image-too-many-pixels"),
        ("large.png", bytes(20_000_001), "input-too-large"),
    ],
)
def test_a_bad_file_fails_in_one_clear_line(
    facemend: Facemend, folder: Path, name: str, data: bytes, code: str
) -> None:
    answer = facemend("restore", put(folder, name, data))
    assert answer.exit_code == 1
    assert only_line(answer.stderr).startswith(f"{folder / name}: {code}: ")
    assert list(folder.iterdir()) == [folder / name]


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_of_an_animation_the_first_frame_is_used_and_it_is_said(
    facemend: Facemend, folder: Path, kind: str
) -> None:
    answer = facemend("restore", put(folder, f"moving.{kind}", animated(kind)))
    assert answer.exit_code == 0
    assert "only the first one is used" in answer.stderr
    name = "output_moving.gif.png" if kind == "gif" else "output_moving.webp"
    assert not getattr(opened(folder / name), "is_animated", False)


def test_cmyk_comes_out_as_rgb_and_it_is_said(facemend: Facemend, folder: Path) -> None:
    photo = put(folder, "ink.jpg", file_of(Image.new("CMYK", (64, 64), (0, 200, 0, 0)), "jpeg"))
    answer = facemend("restore", photo)
    assert "CMYK" in answer.stderr
    result = opened(folder / "output_ink.jpg")
    assert result.mode == "RGB"
    red, green, _ = result.getpixel((32, 32))  # type: ignore[misc]
    assert red > green + 50


def test_a_grey_photo_stays_grey(facemend: Facemend, folder: Path, astronaut: Path) -> None:
    opened(astronaut).convert("L").save(folder / "grey.png")
    answer = facemend("restore", folder / "grey.png")
    assert "1 of 1" in answer.stdout
    assert opened(folder / "output_grey.png").mode == "L"


def test_16_bits_stay_16(facemend: Facemend, folder: Path) -> None:
    samples = np.tile(np.linspace(0, 65_535, 64).round(), (64, 1))
    answer = facemend("restore", put(folder, "deep.png", png_of(samples, 0, 16)))
    assert "16 bits" not in answer.stderr
    np.testing.assert_array_equal(np.asarray(opened(folder / "output_deep.png")), samples)


def test_alpha_is_kept(facemend: Facemend, folder: Path, astronaut: Path) -> None:
    image = opened(astronaut).convert("RGB")
    alpha = Image.fromarray(gradient(512, 512)[:, :, 0])
    image.putalpha(alpha)
    image.save(folder / "clear.png")
    facemend("restore", folder / "clear.png")
    kept = opened(folder / "output_clear.png").getchannel("A")
    np.testing.assert_array_equal(np.asarray(kept), np.asarray(alpha))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_comes_out_upright_with_its_face_restored(
    facemend: Facemend, folder: Path, astronaut: Path, orientation: int
) -> None:
    pixels = np.asarray(opened(astronaut).convert("RGB"))[:300, 50:400]
    answer = facemend("restore", put(folder, "turned.png", turned(pixels, orientation)))
    assert "1 of 1" in answer.stdout
    result = opened(folder / "output_turned.png")
    assert not result.getexif()
    same = (np.asarray(result) == pixels).all(2).mean()
    assert 0.8 < same < 1


def test_a_photo_with_no_face_is_written_unchanged_and_it_is_said(
    facemend: Facemend, folder: Path
) -> None:
    answer = facemend("restore", put(folder, "wall.png", file_of(BLANK, "png")))
    assert answer.exit_code == 0
    assert "No face was found" in answer.stderr
    np.testing.assert_array_equal(
        np.asarray(opened(folder / "output_wall.png"))[:, :, None], BLANK[:, :, :1]
    )


def test_strict_makes_no_face_a_failure(facemend: Facemend, folder: Path) -> None:
    answer = facemend("restore", put(folder, "wall.png", file_of(BLANK, "png")), "--strict")
    assert answer.exit_code == 1
    assert "no-face-found" in only_line(answer.stderr)
    assert not (folder / "output_wall.png").exists()


def test_a_result_that_cannot_be_written_is_said_in_one_line(
    facemend: Facemend, folder: Path, astronaut: Path
) -> None:
    put(folder, "file", b"")
    answer = facemend("restore", astronaut, "-o", folder / "file" / "result.png")
    assert answer.exit_code == 1
    assert "cannot be written" in only_line(answer.stderr)
