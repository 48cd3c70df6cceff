"""``facemend models add --kind upscaler``, and the background that the added network enlarges."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.worker.commands.conftest import Facemend, only_line, opened
from tests.worker.engine.conftest import save_tiny_model
from tests.worker.engine.enlarging_networks import (
    Pixels,
    as_spandrel_draws,
    drawing,
    enlarging,
    grey,
    save,
)

pytestmark = pytest.mark.usefixtures("one_torch_thread")

UPSCALER = ("--kind", "upscaler", "--licence", "MIT")


@pytest.fixture
def models_dir(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (folder / "models").mkdir()
    save_tiny_model(folder / "models")
    monkeypatch.setenv("FACEMEND_MODELS_DIR", str(folder / "models"))
    return folder / "models"


@pytest.fixture
def picture(astronaut: Path) -> Pixels:
    """Two tiles wide, no face."""
    return np.asarray(opened(astronaut).convert("RGB"))[400:436, 60:460]


@pytest.fixture
def photo(folder: Path, picture: Pixels) -> Path:
    Image.fromarray(picture).save(folder / "photo.png")
    return folder / "photo.png"


@pytest.mark.parametrize(
    "file",
    [
        "esrgan-x4.pth",
        "compact-x4.safetensors",
        "swinir-x2.pth",
        "span-x2.safetensors",
        "dat-x2.pth",
    ],
)
def test_an_added_network_enlarges_the_background_as_spandrel_does(
    facemend: Facemend, models_dir: Path, photo: Path, picture: Pixels, file: str
) -> None:
    network, scale = Path(file).stem, int(Path(file).stem[-1])
    path = save(drawing(network, picture), photo.with_name(file))
    added = facemend("models", "add", path, *UPSCALER, "--name", "my-network")
    assert added.exit_code == 0, added.output
    assert f"enlarges {scale} times" in added.stdout
    about = json.loads((models_dir / "my-network.json").read_text())
    assert (about["kind"], about["scale"], about["licence"]) == ("upscaler", scale, "MIT")
    assert f"x{scale}" in facemend("models", "list").stdout
    assert about["sha256"] in facemend("models", "verify", "my-network").stdout

    done = facemend("restore", photo, "--background", f"x{scale}", "--json")
    assert done.exit_code == 0, done.output
    (reported,) = json.loads(done.stdout)
    assert reported["background"] == {
        "name": "my-network",
        "sha256": about["sha256"],
        "precision": "fp32",
        "scale": scale,
        "averaged": False,
    }
    found = np.asarray(opened(Path(reported["output"])).convert("RGB")).astype(int)
    apart = np.abs(found - as_spandrel_draws(path, picture))
    assert apart.max() <= (3 if network == "dat-x2" else 1)
    assert found.std() > 15


def test_the_background_of_a_model_that_enlarges_four_times_is_averaged_for_two(
    facemend: Facemend, models_dir: Path, folder: Path, photo: Path, picture: Pixels
) -> None:
    file = save(drawing("compact-x4", picture), folder / "mine.pth")
    facemend("models", "add", file, *UPSCALER)
    (reported,) = json.loads(facemend("restore", photo, "--background", "x2", "--json").stdout)
    assert (reported["background"]["name"], reported["background"]["averaged"]) == ("mine", True)
    found = np.asarray(opened(Path(reported["output"])).convert("RGB"))
    squares = as_spandrel_draws(file, picture).astype(float).reshape(72, 2, 800, 2, 3)
    assert np.abs(found - squares.mean((1, 3))).mean() < 1


def test_a_changed_file_is_refused(
    facemend: Facemend, models_dir: Path, folder: Path, photo: Path
) -> None:
    facemend("models", "add", save(enlarging(2), folder / "mine.pth"), *UPSCALER)
    with (models_dir / "mine.pth").open("ab") as file:
        file.write(b"more")
    done = facemend("restore", photo, "--background", "x2")
    assert done.exit_code == 1
    assert "model-unavailable" in done.stderr
    assert "is expected" in done.stderr


def test_a_licence_that_is_not_open_has_to_be_accepted(
    facemend: Facemend,
    models_dir: Path,
    folder: Path,
    photo: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = save(enlarging(2), folder / "mine.pth")
    added = facemend("models", "add", file, "--kind", "upscaler", "--licence", "research-only")
    assert "FACEMEND_ACCEPTED_LICENCES=research-only" in added.stdout
    refused = facemend("restore", photo, "--background", "x2")
    assert refused.exit_code == 1
    assert "FACEMEND_ACCEPTED_LICENCES=research-only" in refused.stderr
    monkeypatch.setenv("FACEMEND_ACCEPTED_LICENCES", "research-only")
    assert facemend("restore", photo, "--background", "x2").exit_code == 0


def test_a_network_that_cannot_enlarge_is_refused_and_nothing_is_kept(
    facemend: Facemend, models_dir: Path, folder: Path
) -> None:
    answer = facemend("models", "add", save(grey(), folder / "mine.pth"), *UPSCALER)
    assert answer.exit_code == 3
    assert "needs the form for colour" in only_line(answer.stderr)
    assert not list(models_dir.glob("mine.*"))


def test_a_pickle_that_would_run_code_is_refused(
    facemend: Facemend, models_dir: Path, folder: Path
) -> None:
    torch.save({"params": Path("code")}, folder / "mine.pth")
    answer = facemend("models", "add", "mine.pth", *UPSCALER)
    assert answer.exit_code == 3
    assert "nothing in it was loaded or run" in only_line(answer.stderr)


def test_without_spandrel_the_command_to_install_it_is_named_only_where_it_is_needed(
    facemend: Facemend,
    models_dir: Path,
    folder: Path,
    photo: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facemend("models", "add", save(enlarging(4), folder / "mine.pth"), *UPSCALER)
    monkeypatch.setitem(sys.modules, "spandrel", None)  # as if it were not installed
    answer = facemend("restore", photo, "--background", "x4")
    assert answer.exit_code == 1
    assert "run: pip install 'facemend[spandrel]'" in answer.stderr
    assert facemend("restore", photo).exit_code == 0  # a background that is kept needs none


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("mine.onnx", *UPSCALER), "for --kind upscaler can end with .pth, .safetensors"),
        (("mine.pth", *UPSCALER, "--size", "64"), "are of a restorer"),
        (("mine.pth", *UPSCALER, "--template", "ffhq"), "are of a restorer"),
        (("mine.pth", "--licence", "MIT"), "a restorer needs --size and --template"),
        (("mine.pth", *UPSCALER, "--name", "realesrgan-x4plus"), "choose another --name"),
    ],
)
def test_a_command_that_fits_no_kind_is_refused(
    facemend: Facemend, models_dir: Path, folder: Path, arguments: tuple[str, ...], said: str
) -> None:
    (folder / arguments[0]).write_bytes(b"never read")
    answer = facemend("models", "add", *arguments)
    assert answer.exit_code == 2
    assert said in answer.stderr


def test_an_added_upscaler_does_not_restore_faces(
    facemend: Facemend, models_dir: Path, folder: Path, photo: Path
) -> None:
    facemend("models", "add", save(enlarging(2), folder / "mine.pth"), *UPSCALER)
    answer = facemend("restore", photo, "-m", "mine")
    assert answer.exit_code == 3
    assert "does not restore faces" in answer.stderr
