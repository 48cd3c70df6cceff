"""``facemend restore`` with files that are not photos, and with unusual photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.worker.commands.conftest import BLANK, Facemend, only_line, opened, put
from tests.worker.engine.photos import (
    animated,
    file_of,
    gradient,
    png_bomb,
    png_of,
    png_with_oversized_transparency,
    turned,
)


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("text.jpg", b"hello, I am a text", "unsupported-image"),
        ("empty.png", b"", "unsupported-image"),
        ("cut.jpg", file_of(gradient(), "jpeg")[:-200], "corrupt-image"),
        ("cut.png", file_of(gradient(), "png")[:-20], "corrupt-image"),
        ("one.png", file_of(np.zeros((1, 1, 3), np.uint8), "png"), "unsupported-image"),
        ("bomb.png", png_bomb(20_000), "image-too-many-pixels"),
    ],
)
def test_a_bad_file_is_an_error_of_one_line(
    facemend: Facemend, folder: Path, name: str, data: bytes, code: str
) -> None:
    answer = facemend("restore", put(folder, name, data))
    assert answer.exit_code == 1
    assert only_line(answer.stderr).startswith(f"{folder / name}: {code}: ")
    assert list(folder.iterdir()) == [folder / name]


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_the_first_frame_of_an_animation_is_used_with_a_warning(
    facemend: Facemend, folder: Path, kind: str
) -> None:
    answer = facemend("restore", put(folder, f"moving.{kind}", animated(kind)))
    assert answer.exit_code == 0
    assert "only the first one is used" in answer.stderr
    name = "output_moving.gif.png" if kind == "gif" else "output_moving.webp"
    assert not getattr(opened(folder / name), "is_animated", False)


def test_cmyk_becomes_rgb_with_a_warning(facemend: Facemend, folder: Path) -> None:
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


def test_16_bits_are_kept(facemend: Facemend, folder: Path) -> None:
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
def test_a_rotated_photo_becomes_upright_and_its_face_is_restored(
    facemend: Facemend, folder: Path, astronaut: Path, orientation: int
) -> None:
    pixels = np.asarray(opened(astronaut).convert("RGB"))[:300, 50:400]
    answer = facemend("restore", put(folder, "turned.png", turned(pixels, orientation)))
    assert "1 of 1" in answer.stdout
    result = opened(folder / "output_turned.png")
    assert not result.getexif()
    same = (np.asarray(result) == pixels).all(2).mean()
    assert 0.8 < same < 1


def test_a_photo_without_a_face_is_written_unchanged_with_a_warning(
    facemend: Facemend, folder: Path
) -> None:
    answer = facemend("restore", put(folder, "wall.png", file_of(BLANK, "png")))
    assert answer.exit_code == 0
    assert "No face was found" in answer.stderr
    np.testing.assert_array_equal(np.asarray(opened(folder / "output_wall.png")), BLANK)


def test_with_strict_a_photo_without_a_face_fails(facemend: Facemend, folder: Path) -> None:
    answer = facemend("restore", put(folder, "wall.png", file_of(BLANK, "png")), "--strict")
    assert answer.exit_code == 1
    assert "no-face-found" in only_line(answer.stderr)
    assert not (folder / "output_wall.png").exists()


def test_a_result_that_cannot_be_written_is_an_error_of_one_line(
    facemend: Facemend, folder: Path, astronaut: Path
) -> None:
    put(folder, "file", b"")
    answer = facemend("restore", astronaut, "-o", folder / "file" / "result.png")
    assert answer.exit_code == 1
    assert "cannot be written" in only_line(answer.stderr)


def test_a_lossless_webp_without_a_face_is_not_encoded_again(
    facemend: Facemend, folder: Path
) -> None:
    data = file_of(gradient(), "webp", lossless=True)
    assert facemend("restore", put(folder, "exact.webp", data)).exit_code == 0
    assert (folder / "output_exact.webp").read_bytes() == data


def test_a_jpeg_without_a_face_keeps_its_coded_pixels_and_loses_its_metadata(
    facemend: Facemend, folder: Path
) -> None:
    exif = Image.Exif()
    exif[0x010E] = "Ada at home"
    plain = file_of(gradient(), "jpeg", quality=60, dpi=(600, 600))
    data = file_of(gradient(), "jpeg", quality=60, dpi=(600, 600), exif=exif, comment=b"Ada")
    answer = facemend("restore", put(folder, "plain.jpg", data))
    assert "written anew" not in answer.stderr
    assert (folder / "output_plain.jpg").read_bytes() == plain


def test_a_restored_lossless_webp_stays_lossless(
    facemend: Facemend, folder: Path, astronaut: Path
) -> None:
    opened(astronaut).convert("RGB").save(folder / "face.webp", lossless=True)
    answer = facemend("restore", folder / "face.webp", "--restore-sharp")
    assert "1 of 1" in answer.stdout
    before, after = (
        np.asarray(opened(folder / name).convert("RGB"))
        for name in ("face.webp", "output_face.webp")
    )
    changed = (before != after).any(2)
    assert 0 < changed.mean() < 0.5  # the face alone


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [("scan.jpg", "jpeg", {}), ("scan.png", "png", {}), ("scan.tif", "tiff", {})],
)
def test_the_resolution_of_a_scan_is_kept(
    facemend: Facemend, folder: Path, name: str, kind: str, options: dict[str, int]
) -> None:
    facemend("restore", put(folder, name, file_of(gradient(), kind, dpi=(600, 600), **options)))
    (result,) = folder.glob("output_*")
    assert opened(result).info["dpi"] == pytest.approx((600, 600), abs=0.1)


def test_enlarging_keeps_the_size_of_the_print(facemend: Facemend, folder: Path) -> None:
    photo = put(folder, "scan.png", file_of(gradient(16, 24), "png", dpi=(300, 300)))
    facemend("restore", photo, "--background", "x2")
    assert opened(folder / "output_scan.png").info["dpi"] == pytest.approx((600, 600), abs=0.1)


def test_a_palette_with_too_much_transparency_is_an_error_of_one_line(
    facemend: Facemend, folder: Path
) -> None:
    answer = facemend("restore", put(folder, "odd.png", png_with_oversized_transparency()))
    assert answer.exit_code == 1
    assert only_line(answer.stderr).startswith(f"{folder / 'odd.png'}: corrupt-image: ")
