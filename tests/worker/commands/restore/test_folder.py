"""``facemend restore`` with folders: which files are photos, what was done before, what is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facemend.folder.results import RECORD_NAME
from tests.worker.commands.conftest import BLANK, Facemend, opened, put
from tests.worker.engine.photos import file_of

ROOT = Path(__file__).resolve().parents[4]
PHOTOS = ROOT / "tests" / "data" / "photos"


@pytest.fixture
def album(folder: Path) -> Path:
    (folder / "album").mkdir()
    return folder / "album"


def photo(folder: Path, name: str, kind: str = "png", tone: int = 90) -> Path:
    """Write a photo of one tone, without a face."""
    folder.mkdir(parents=True, exist_ok=True)
    return put(folder, name, file_of(np.full((64, 64, 3), tone, np.uint8), kind))


def run_facemend(encoding: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    """Run ``facemend`` in a process whose terminal has this encoding."""
    command = [sys.executable, "-m", "worker.cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, env=environment, check=False)


def told_by(facemend: Facemend, *arguments: object) -> dict[str, dict[str, Any]]:
    """What ``--json`` says, by the name of the photo."""
    answer = facemend("restore", *arguments, "--json")
    return {Path(each["input"]).name: each for each in json.loads(answer.stdout)}


def written(out: Path) -> list[str]:
    return sorted(
        path.relative_to(out).as_posix()
        for path in out.rglob("*")
        if path.is_file() and path.name != RECORD_NAME
    )


# --- as many results as photos --------------------------------------------------------------


def test_a_converted_result_and_a_photo_of_that_name_are_two_files(
    facemend: Facemend, album: Path, folder: Path
) -> None:
    photo(album, "scan.bmp", "bmp", tone=10)
    photo(album, "scan.bmp.png", tone=200)
    told = told_by(facemend, "-i", album, "-o", folder / "out")
    outputs = {name: Path(each["output"]) for name, each in told.items()}
    assert len({str(path) for path in outputs.values()}) == 2
    tones = {name: opened(path).convert("L").getpixel((0, 0)) for name, path in outputs.items()}
    assert tones == {"scan.bmp": 10, "scan.bmp.png": 200}


def test_photos_of_one_stem_have_a_comparison_each(
    facemend: Facemend, album: Path, folder: Path
) -> None:
    for kind in ("jpeg", "png", "webp"):
        photo(album, f"anna.{kind}", kind)
    told = told_by(facemend, "-i", album, "-o", folder / "out", "--compare")
    claimed = [each[key] for each in told.values() for key in ("output", "comparison")]
    assert len(set(claimed)) == 6
    assert sorted(Path(path).name for path in claimed) == written(folder / "out")


def test_a_comparison_does_not_replace_the_result_of_a_photo_of_that_name(
    facemend: Facemend, album: Path, folder: Path
) -> None:
    photo(album, "anna.jpg", "jpeg")
    photo(album, "anna.jpg_comparison.png")
    told_by(facemend, "-i", album, "-o", folder / "out", "--compare")
    assert len(written(folder / "out")) == 4


def test_names_that_differ_only_in_case_stay_apart_on_any_disk(
    facemend: Facemend, album: Path, folder: Path
) -> None:
    photo(album, "Anna.png")
    photo(album, "anna.png")
    told_by(facemend, "-i", album, "-o", folder / "out")
    assert len({name.lower() for name in written(folder / "out")}) == 2


# --- which files are photos -----------------------------------------------------------------


def test_hidden_files_are_skipped_and_the_album_is_fine(
    facemend: Facemend, album: Path, folder: Path
) -> None:
    photo(album, "anna.jpg", "jpeg")
    put(album, "._anna.jpg", b"resource fork")
    answer = facemend("restore", "-i", album, "-o", folder / "out")
    assert answer.exit_code == 0
    assert "1 a hidden file" in answer.stdout


def test_every_skipped_file_has_a_reason(facemend: Facemend, album: Path, folder: Path) -> None:
    photo(album, "anna.jpg", "jpeg")
    put(album, "notes.txt", b"text")
    (album / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(album / "pipe.jpg")
    (album / "self").symlink_to(album)
    told = told_by(facemend, "-i", album, "-o", folder / "out")
    assert {name: each["reason"] for name, each in told.items()} == {
        "anna.jpg": None,
        "notes.txt": "not a photo by its name (.txt)",
        "gone.jpg": "a link that leads nowhere",
        "pipe.jpg": "not a regular file",
        "self": "a link to a folder",
    }


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".pjpeg"])
def test_a_jpeg_is_restored_under_each_of_its_names(
    facemend: Facemend, album: Path, folder: Path, suffix: str
) -> None:
    photo(album, f"web{suffix}", "jpeg")
    told_by(facemend, "-i", album, "-o", folder / "out")
    assert written(folder / "out") == [f"web{suffix}"]


@pytest.mark.parametrize("files", [(), ("notes.txt",)])
def test_a_folder_without_a_photo_is_an_error(
    facemend: Facemend, album: Path, files: tuple[str, ...]
) -> None:
    for name in files:
        put(album, name, b"text")
    answer = facemend("restore", album)
    assert answer.exit_code == 2
    assert "holds no photo" in answer.stderr


def test_subfolders_are_counted_or_restored(facemend: Facemend, album: Path, folder: Path) -> None:
    photo(album, "anna.png")
    photo(album / "1950", "boy.png")
    photo(album / "1950" / "summer", "boy.png")
    photo(album / ".thumbnails", "small.png")
    answer = facemend("restore", "-i", album, "-o", folder / "out")
    assert "1 subfolder(s) were left out: --recursive" in answer.stdout
    facemend("restore", "-i", album, "-o", folder / "out", "--recursive")
    assert written(folder / "out") == ["1950/boy.png", "1950/summer/boy.png", "anna.png"]


def test_an_album_of_subfolders_alone_names_the_option(facemend: Facemend, album: Path) -> None:
    photo(album / "1950", "boy.png")
    answer = facemend("restore", album)
    assert answer.exit_code == 2
    assert "1 subfolder(s) were left out: use --recursive" in answer.stderr


def test_results_inside_the_album_are_not_restored_again(facemend: Facemend, album: Path) -> None:
    photo(album, "anna.png")
    for _ in range(2):
        facemend("restore", "-i", album, "-o", album / "restored", "--recursive", "--no-resume")
    assert written(album / "restored") == ["anna.png"]


# --- what was done before -------------------------------------------------------------------


def test_what_was_done_before_is_not_done_again(
    facemend: Facemend, album: Path, folder: Path
) -> None:
    photo(album, "anna.png")
    facemend("restore", "-i", album, "-o", folder / "out")
    before = (folder / "out" / "anna.png").stat().st_mtime_ns
    photo(album, "new.png")
    answer = facemend("restore", "-i", album, "-o", folder / "out")
    assert (folder / "out" / "anna.png").stat().st_mtime_ns == before
    assert "0 restored, 1 unchanged, 1 skipped" in answer.stdout
    assert "1 done before" in answer.stdout
    assert "--no-resume restores it again" in answer.stdout


@pytest.mark.parametrize("change", ["photo", "options", "result", "asked for"])
def test_a_photo_is_done_again_if_something_changed(
    facemend: Facemend, album: Path, folder: Path, change: str
) -> None:
    source, out = photo(album, "anna.png"), folder / "out"
    facemend("restore", "-i", album, "-o", out)
    arguments: list[object] = []
    match change:
        case "photo":
            photo(album, "anna.png", tone=20)
            os.utime(source, ns=(0, 0))  # an older photo is another one, too
        case "options":
            arguments = ["--strength", 0.5]
        case "result":
            (out / "anna.png").unlink()
        case "asked for":
            arguments = ["--no-resume"]
    told = told_by(facemend, "-i", album, "-o", out, *arguments)
    assert told["anna.png"]["status"] == "unchanged"
    assert written(out) == ["anna.png"]


def test_a_photo_that_failed_is_tried_again(facemend: Facemend, album: Path, folder: Path) -> None:
    put(album, "bad.png", b"no photo")
    for _ in range(2):
        assert told_by(facemend, "-i", album, "-o", folder / "out")["bad.png"]["status"] == "failed"


def test_a_new_photo_never_takes_the_result_of_another(
    facemend: Facemend, album: Path, folder: Path
) -> None:
    photo(album, "scan.bmp", "bmp", tone=10)
    told_by(facemend, "-i", album, "-o", folder / "out")  # → scan.bmp.png
    photo(album, "scan.bmp.png", tone=200)
    told_by(facemend, "-i", album, "-o", folder / "out")
    tones = sorted(
        opened(folder / "out" / name).convert("L").getpixel((0, 0))  # type: ignore[type-var]
        for name in written(folder / "out")
    )
    assert tones == [10, 200]


def test_a_record_that_was_cut_or_edited_is_no_error(
    facemend: Facemend, album: Path, folder: Path
) -> None:
    photo(album, "anna.png")
    facemend("restore", "-i", album, "-o", folder / "out")
    record = folder / "out" / RECORD_NAME
    record.write_bytes(b'[1]\n{"photo": 1}\n\xff\n' + record.read_bytes()[:-20])
    answer = facemend("restore", "-i", album, "-o", folder / "out")
    assert answer.exit_code == 0


# --- names ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["照" * 80 + ".jpg", "é" * 125 + ".jpg", "x" * 251 + ".jpg"])
def test_a_name_as_long_as_the_file_system_accepts_is_restored(
    facemend: Facemend, album: Path, folder: Path, name: str
) -> None:
    source = photo(album, name, "jpeg")
    assert facemend("restore", "-i", album, "-o", folder / "out", "--compare").exit_code == 0
    assert facemend("restore", source).exit_code == 0
    assert len(written(folder / "out")) == 2
    assert len(list(album.iterdir())) == 2
    assert name in written(folder / "out")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_a_name_that_the_terminal_cannot_show_is_replaced(
    album: Path, folder: Path, encoding: str
) -> None:
    photo(album, "写真.png")
    photo(album, os.fsdecode(b"caf\xe9.png"))  # codespell:ignore caf
    done = run_facemend(encoding, "restore", "-i", album, "-o", folder / "out")
    assert done.returncode == 0, done.stderr
    assert b"2 unchanged" in done.stdout


@pytest.mark.parametrize("hostile", ["\x1b[31m", "\n", "\r", "\x9b2J", "\u202e", "\u2028"])
def test_a_name_cannot_control_the_terminal(
    facemend: Facemend, album: Path, folder: Path, hostile: str
) -> None:
    photo(album, f"a{hostile}b.png")
    put(album, f"c{hostile}d.png", b"no photo")
    answers = [facemend("restore", "-i", album, "-o", folder / "out")]
    answers.append(facemend("restore", album / f"a{hostile}b.png", "-v"))
    for answer in answers:
        shown = answer.stdout + answer.stderr
        assert "a?" in shown
        assert f"a{hostile}" not in shown
        assert f"c{hostile}" not in shown
    assert f"a{hostile}b.png" in written(folder / "out")


# --- limits ---------------------------------------------------------------------------------


def test_ones_own_photos_may_be_larger_than_those_of_a_service(
    facemend: Facemend, folder: Path
) -> None:
    Image.new("RGB", (8064, 6048)).save(folder / "phone.jpg", quality=20)
    assert facemend("restore", folder / "phone.jpg").exit_code == 0


@pytest.mark.parametrize("option", ["--max-pixels", "--max-bytes"])
def test_a_photo_over_a_limit_names_the_option_that_moves_it(
    facemend: Facemend, folder: Path, option: str
) -> None:
    answer = facemend("restore", photo(folder, "a.png"), option, 100)
    assert answer.exit_code == 1
    assert f"{option} accepts more" in answer.stderr


def test_a_limit_in_the_settings_holds_for_the_command_line_too(
    facemend: Facemend, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEMEND_MAX_PIXELS", "1000")
    assert "image-too-many-pixels" in facemend("restore", photo(folder, "a.png")).stderr


def test_a_photo_that_takes_for_ever_to_decode_fails_and_the_time_is_told(
    facemend: Facemend, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.commands.restore.engine._DECODE_S", 1)
    image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (3000, 3000, 3), np.uint8))
    image.save(folder / "many-scans.jpg", quality=95, progressive=True)
    data = (folder / "many-scans.jpg").read_bytes()
    start = data.rindex(b"\xff\xda")  # the last scan, again and again
    put(folder, "many-scans.jpg", data[:start] + data[start:-2] * 40 + data[-2:])
    answer = facemend("restore", folder / "many-scans.jpg")
    assert answer.exit_code == 1
    assert "corrupt-image" in answer.stderr
    assert "1 s" in answer.stderr


def test_a_photo_without_a_face_is_blank_as_before(facemend: Facemend, folder: Path) -> None:
    facemend("restore", put(folder, "wall.png", file_of(BLANK, "png")))
    np.testing.assert_array_equal(
        np.asarray(opened(folder / "output_wall.png").convert("RGB")), BLANK
    )


def test_photos_of_a_phone_become_png(facemend: Facemend, album: Path, folder: Path) -> None:
    for kind in ("avif", "heic"):
        put(album, f"phone.{kind}", (PHOTOS / f"gradient.{kind}").read_bytes())
    told = told_by(facemend, "-i", album, "-o", folder / "out")
    assert {each["status"] for each in told.values()} == {"unchanged"}
    assert written(folder / "out") == ["phone.avif.png", "phone.heic.png"]
