from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import Result

from tests.worker.commands.conftest import Facemend
from worker.weights.catalogue import CATALOGUE

if TYPE_CHECKING:
    from shared.storage.bucket import ObjectStorage

DATA = b"weights of a network of 256 px"


@pytest.fixture
def models_dir(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACEMEND_MODELS_DIR", str(folder / "models"))
    return folder / "models"


@pytest.fixture
def mirror(folder: Path) -> Path:
    (folder / "mirror").mkdir()
    (folder / "mirror" / "GPEN-BFR-256.pth").write_bytes(DATA)
    (folder / "mirror" / "detection_Resnet50_Final.pth").write_bytes(b"not it")
    return folder / "mirror"


def row_of(answer: Result, name: str) -> str:
    (line,) = (line for line in answer.stdout.splitlines() if f" {name} " in line)
    return line


def test_the_list_shows_every_model_and_which_ones_are_installed(
    facemend: Facemend, models_dir: Path
) -> None:
    models_dir.mkdir()
    (models_dir / "GPEN-BFR-256.pth").write_bytes(DATA)
    (models_dir / "GPEN-BFR-512.pth.part").write_bytes(bytes(3_000_000))
    answer = facemend("models", "list")
    assert answer.exit_code == 0
    for name in CATALOGUE:
        assert row_of(answer, name)
    assert "yes" in row_of(answer, "gpen-bfr-256")
    assert "3 MB so far" in row_of(answer, "gpen-bfr-512")
    assert "no" in row_of(answer, "gpen-bfr-1024")
    assert "comes with" in row_of(answer, "facemend-starter")
    assert "FACEMEND_ACCEPTED_LICENCES=gpen-non-commercial" in answer.stdout


def test_weights_are_pulled_from_a_mirror(
    facemend: Facemend, models_dir: Path, mirror: Path
) -> None:
    answer = facemend("models", "pull", "gpen-bfr-256", "--from", mirror)
    assert answer.exit_code == 0
    assert (models_dir / "GPEN-BFR-256.pth").read_bytes() == DATA
    assert "licence: academic and non-commercial use only" in answer.stdout
    assert "size: not published" in answer.stdout
    assert "small faces" in answer.stdout
    assert "unverified" in answer.stdout
    assert "No hash was published" in answer.stdout
    assert "FACEMEND_ACCEPTED_LICENCES=gpen-non-commercial" in answer.stdout
    verified = facemend("models", "verify", "gpen-bfr-256")
    assert verified.exit_code == 0
    assert "as recorded" in verified.stdout


def test_the_mirror_of_the_settings_is_used(
    facemend: Facemend, models_dir: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEMEND_MODELS_URL", str(mirror))
    assert facemend("models", "pull", "gpen-bfr-256").exit_code == 0
    assert (models_dir / "GPEN-BFR-256.pth").is_file()


def test_weights_are_pulled_from_a_bucket(
    facemend: Facemend,
    models_dir: Path,
    storage: ObjectStorage,
    stack_settings: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in stack_settings.items():
        if name.startswith("s3_"):
            monkeypatch.setenv(f"FACEMEND_{name.upper()}", str(value))
    storage.put("weights/GPEN-BFR-256.pth", DATA, "application/octet-stream")
    place = f"s3://{stack_settings['s3_bucket']}/weights"
    answer = facemend("models", "pull", "gpen-bfr-256", "--from", place)
    assert answer.exit_code == 0
    assert (models_dir / "GPEN-BFR-256.pth").read_bytes() == DATA


def test_a_wrong_hash_is_an_error_of_one_line_and_leaves_no_file(
    facemend: Facemend, models_dir: Path, mirror: Path
) -> None:
    answer = facemend("models", "pull", "retinaface-resnet50", "--from", mirror)
    assert answer.exit_code == 3
    assert "6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d" in answer.stderr
    assert "Traceback" not in answer.output
    assert list(models_dir.iterdir()) == []


def test_a_file_that_the_mirror_lacks_is_an_error_of_one_line(
    facemend: Facemend, models_dir: Path, mirror: Path
) -> None:
    answer = facemend("models", "pull", "gpen-bfr-1024", "--from", mirror)
    assert answer.exit_code == 3
    assert "model-unavailable" in answer.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nonsense", "known are"),
        ("realesrgan-x4plus-ncnn", "run: pip install 'facemend[background]'"),
    ],
)
def test_a_model_that_cannot_be_pulled_is_an_error_of_one_line(
    facemend: Facemend, models_dir: Path, name: str, words: str
) -> None:
    answer = facemend("models", "pull", name)
    assert answer.exit_code == 3
    assert words in answer.stderr


@pytest.mark.parametrize("place", [(), ("--from", "s3://bucket/weights")])
def test_pulling_a_model_of_the_package_does_nothing_and_succeeds(
    facemend: Facemend, place: tuple[str, ...]
) -> None:
    # The chart does so before each worker starts, whatever its model.
    answer = facemend("models", "pull", "facemend-starter", *place)
    assert answer.exit_code == 0
    assert "nothing to pull" in answer.stdout


def test_pull_needs_a_name(facemend: Facemend) -> None:
    assert facemend("models", "pull").exit_code == 2


def test_verify_checks_every_installed_file(facemend: Facemend, models_dir: Path) -> None:
    answer = facemend("models", "verify")
    assert answer.exit_code == 0
    names = [line.split(":")[0] for line in answer.stdout.splitlines()]
    assert names == ["facemend-starter", "retinaface-mobilenet0.25", "realesrgan-x4plus-ncnn"]
    assert answer.stdout.count("as published") == 3


def test_verify_finds_a_changed_byte(facemend: Facemend, models_dir: Path, mirror: Path) -> None:
    facemend("models", "pull", "gpen-bfr-256", "--from", mirror)
    (models_dir / "GPEN-BFR-256.pth").write_bytes(DATA.upper())
    answer = facemend("models", "verify")
    assert answer.exit_code == 3
    assert "gpen-bfr-256: model-unavailable" in answer.stderr
    assert "facemend-starter" in answer.stdout  # the others were checked all the same


def test_verify_names_the_command_that_installs_a_missing_file(
    facemend: Facemend, models_dir: Path
) -> None:
    answer = facemend("models", "verify", "gpen-bfr-512")
    assert answer.exit_code == 3
    assert "facemend models pull gpen-bfr-512" in answer.stderr
