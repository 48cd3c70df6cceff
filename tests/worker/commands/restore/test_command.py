"""``facemend restore``: inputs, outputs, options and errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from facemend.folder.results import RECORD_NAME
from tests.worker.commands.conftest import BLANK, Facemend, only_line, opened, put
from tests.worker.engine.photos import file_of

# --- what goes where ------------------------------------------------------------------------


def test_a_photo_gets_its_result_beside_it(
    facemend: Facemend, folder: Path, grace_hopper: Path
) -> None:
    (folder / "album").mkdir()
    photo = shutil.copy(grace_hopper, folder / "album" / "photo.jpg")
    answer = facemend("restore", photo)
    assert answer.exit_code == 0
    result = opened(folder / "album" / "output_photo.jpg")
    before = opened(photo)
    assert (result.format, result.size, result.mode) == ("JPEG", before.size, before.mode)
    assert "1 of 1 face(s) restored" in only_line(answer.stdout)
    assert sorted(path.name for path in (folder / "album").iterdir()) == [
        "output_photo.jpg",
        "photo.jpg",
    ]


def test_only_the_face_of_the_result_differs(
    facemend: Facemend, folder: Path, astronaut: Path
) -> None:
    facemend("restore", astronaut, "-o", folder / "result.png")
    before = np.asarray(opened(astronaut).convert("RGB"))
    differs = (np.asarray(opened(folder / "result.png")) != before).any(2)
    y, x = np.nonzero(differs)
    assert differs.any()
    assert 140 < x.min() < x.max() < 310
    assert 20 < y.min() < y.max() < 220


def test_the_file_name_of_the_output_determines_its_format(
    facemend: Facemend, folder: Path, astronaut: Path
) -> None:
    answer = facemend("restore", "-i", astronaut, "-o", folder / "new" / "result.webp")
    assert answer.exit_code == 0
    assert opened(folder / "new" / "result.webp").format == "WEBP"


def test_a_result_is_written_into_an_existing_folder(
    facemend: Facemend, folder: Path, astronaut: Path
) -> None:
    (folder / "out").mkdir()
    facemend("restore", astronaut, "-o", folder / "out")
    assert (folder / "out" / "output_astronaut.png").is_file()


def test_without_a_photo_the_sample_photo_is_restored(facemend: Facemend, folder: Path) -> None:
    answer = facemend("restore", "--compare")
    assert answer.exit_code == 0
    assert opened(folder / "output_astronaut.png").size == (512, 512)
    assert opened(folder / "output_astronaut_comparison.png").size == (1032, 512)
    assert "1 of 1" in answer.stdout


def test_the_result_of_the_sample_photo_goes_to_the_given_output(
    facemend: Facemend, folder: Path
) -> None:
    (folder / "out").mkdir()
    facemend("restore", "-o", "out")
    facemend("restore", "-o", "named.jpg")
    assert opened(folder / "out" / "output_astronaut.png").format == "PNG"
    assert opened(folder / "named.jpg").format == "JPEG"


def test_an_unsupported_output_format_is_a_usage_error(facemend: Facemend, folder: Path) -> None:
    answer = facemend("restore", "-o", "named.psd")
    assert answer.exit_code == 2
    assert ".png, .jpg, .jpeg or .webp" in answer.stderr


def test_a_folder_of_photos_gives_a_folder_of_results_and_a_summary(
    facemend: Facemend, folder: Path, astronaut: Path, grace_hopper: Path
) -> None:
    album = folder / "album"
    album.mkdir()
    shutil.copy(astronaut, album / "a.png")
    shutil.copy(grace_hopper, album / "b.JPG")
    put(album, "c.bmp", file_of(BLANK, "bmp"))
    put(album, "broken.jpg", b"not a photo")
    put(album, "notes.txt", b"text")
    answer = facemend("restore", "-i", album, "-o", folder / "mended")
    assert answer.exit_code == 1
    names = sorted(path.name for path in (folder / "mended").iterdir())
    assert names == [RECORD_NAME, "a.png", "b.JPG", "c.bmp.png"]
    assert "2 restored, 1 unchanged, 1 skipped, 1 failed" in answer.stdout
    assert "1 not a photo by its name (.txt)" in answer.stdout
    assert "broken.jpg: unsupported-image" in answer.stderr


def test_without_an_output_the_results_of_a_folder_go_to_one_beside_it(
    facemend: Facemend, folder: Path
) -> None:
    (folder / "album").mkdir()
    put(folder / "album", "[bold]a.png", file_of(BLANK, "png"))
    put(folder / "album", "b.png", file_of(BLANK, "png"))
    answer = facemend("restore", folder / "album")
    assert answer.exit_code == 0
    assert (folder / "output_album" / "b.png").is_file()
    assert "[bold]a.png" in answer.stdout


# --- options --------------------------------------------------------------------------------


def test_strength_0_returns_the_photo(facemend: Facemend, folder: Path, astronaut: Path) -> None:
    facemend("restore", astronaut, "--strength", 0, "-o", "same.png")
    np.testing.assert_array_equal(
        np.asarray(opened(folder / "same.png")), np.asarray(opened(astronaut).convert("RGB"))
    )


def test_a_face_that_was_not_selected_has_that_reason(
    facemend: Facemend, folder: Path, astronaut: Path
) -> None:
    answer = facemend("restore", astronaut, "--faces", "1,2", "-v", "-o", "result.png")
    assert answer.exit_code == 0
    assert "not-chosen" in answer.stdout
    assert "There is no face 1, 2" in answer.stderr
    assert "0 of 1" in answer.stdout


def test_json_has_all_details(facemend: Facemend, folder: Path, astronaut: Path) -> None:
    answer = facemend("restore", astronaut, "--json", "--compare", "-o", "result.png")
    (reported,) = json.loads(answer.stdout)
    assert reported["status"] == "restored"
    assert reported["output"] == "result.png"
    assert reported["comparison"] == "result_comparison.png"
    assert reported["faces"][0]["status"] == "restored"
    assert len(reported["faces"][0]["landmarks"]) == 5
    assert set(reported["timings_ms"]) == {"detect", "restore", "paste"}


def test_json_has_failures_too(facemend: Facemend, folder: Path) -> None:
    answer = facemend("restore", put(folder, "x.png", b""), "--json")
    assert answer.exit_code == 1
    assert json.loads(answer.stdout)[0]["error"]["code"] == "unsupported-image"


def test_the_same_seed_gives_the_same_bytes(
    facemend: Facemend, folder: Path, astronaut: Path
) -> None:
    for name in ("one.png", "two.png"):
        facemend("restore", astronaut, "--seed", 7, "-o", name)
    assert (folder / "one.png").read_bytes() == (folder / "two.png").read_bytes()


def test_an_aligned_crop_is_restored_as_a_whole(facemend: Facemend, folder: Path) -> None:
    photo = put(folder, "crop.png", file_of(np.full((32, 32, 3), 120, np.uint8), "png"))
    answer = facemend("restore", photo, "--aligned")
    assert "1 of 1" in answer.stdout
    assert (np.asarray(opened(folder / "output_crop.png")) != 120).any()


# --- bad commands ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.jpg"], "does not exist"),
        (["photo.png", "--background", "blur"], "--background"),
        (["photo.png", "--faces", "some"], "all, largest, center"),
        (["photo.png", "--faces", "0,-1"], "all, largest, center"),
        (["photo.png", "--strength", "1.5"], "--strength"),
        (["photo.png", "--precision", "int8"], "--precision"),
        (["photo.png", "-i", "photo.png"], "not both"),
        (["photo.png", "-o", "result.psd"], ".png, .jpg, .jpeg or .webp"),
        (["photo.png", "-o", "photo.png"], "overwrite"),
        (["-i", ".", "-o", "."], "folder of their own"),
        (["photo.png", "--unknown"], "--unknown"),
    ],
)
def test_a_wrong_command_is_a_usage_error(
    facemend: Facemend, folder: Path, arguments: list[str], words: str
) -> None:
    data = file_of(BLANK, "png")
    put(folder, "photo.png", data)
    answer = facemend("restore", *arguments)
    assert answer.exit_code == 2
    assert words in answer.stderr
    assert [path.name for path in folder.iterdir()] == ["photo.png"]
    assert (folder / "photo.png").read_bytes() == data


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "nonsense"], "model-unavailable: there is no model 'nonsense'"),
        (["--model", "gpen-bfr-512"], "FACEMEND_ACCEPTED_LICENCES=gpen-non-commercial"),
        (["--device", "cuda:99"], "cuda:99 cannot be used"),
    ],
)
def test_a_model_that_cannot_be_used_is_an_error_of_one_line(
    facemend: Facemend, folder: Path, arguments: list[str], words: str
) -> None:
    answer = facemend("restore", put(folder, "photo.png", file_of(BLANK, "png")), *arguments)
    assert answer.exit_code == 3
    assert words in only_line(answer.stderr)


def test_the_error_for_missing_weights_names_the_command_to_install_them(
    facemend: Facemend, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEMEND_ACCEPTED_LICENCES", "gpen-non-commercial")
    photo = put(folder, "photo.png", file_of(BLANK, "png"))
    answer = facemend("restore", photo, "--model", "gpen-bfr-512")
    assert answer.exit_code == 3
    assert "run: facemend models pull gpen-bfr-512" in only_line(answer.stderr)


def test_a_wrong_setting_is_a_usage_error_that_names_it(
    facemend: Facemend, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEMEND_MAX_BATCH", "many")
    answer = facemend("restore", put(folder, "photo.png", file_of(BLANK, "png")))
    assert answer.exit_code == 2
    assert "FACEMEND_MAX_BATCH" in only_line(answer.stderr)


def test_help_has_examples_and_exit_codes(facemend: Facemend) -> None:
    answer = facemend("restore", "--help")
    assert answer.exit_code == 0
    for words in ("facemend restore photo.jpg", "Exit codes", "--strength", "models pull"):
        assert words in answer.stdout
