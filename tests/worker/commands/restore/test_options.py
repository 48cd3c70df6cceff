"""Identity, controls and colour from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.worker.commands.conftest import Facemend
from tests.worker.engine.small_models import save_model


@pytest.fixture
def colourer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A colouring model of random weights, as an own file."""
    save_model(folder, "colour", task="colorize")
    monkeypatch.setenv("FACEMEND_MODELS_DIR", str(folder))
    return "colour"


def test_a_face_that_became_nobody_is_kept_and_told_of(facemend: Facemend, astronaut: Path) -> None:
    pytest.importorskip("dlib", reason="the extra identity is not installed")
    answer = facemend(
        "restore", astronaut, "-o", "kept.png", "--min-identity", 0.5, "--restore-sharp", "--json"
    )
    assert answer.exit_code == 0
    ((face,),) = [photo["faces"] for photo in json.loads(answer.stdout)]
    assert (face["status"], face["reason"]) == ("skipped", "identity-too-low")
    assert 0 <= face["identity_similarity"] < 0.5
    before, after = (np.asarray(Image.open(p).convert("RGB")) for p in (astronaut, "kept.png"))
    np.testing.assert_array_equal(before, after)


def test_each_control_changes_the_face(
    facemend: Facemend, folder: Path, colourer: str, astronaut: Path
) -> None:
    turned = {"as-it-is": [], "noise": ["--noise-scale", 0.3], "latent": ["--truncation", 0.3]}
    for name, options in turned.items():
        answer = facemend("restore", astronaut, "-m", colourer, "-o", f"{name}.png", *options)
        assert answer.exit_code == 0, answer.stderr
    results = {(folder / f"{name}.png").read_bytes() for name in turned}
    assert len(results) == 3


def test_a_grey_photo_is_coloured(
    facemend: Facemend, folder: Path, colourer: str, astronaut: Path
) -> None:
    Image.open(astronaut).convert("L").save(folder / "grey.png")
    answer = facemend("restore", folder / "grey.png", "-m", colourer, "--task", "colorize")
    assert answer.exit_code == 0, answer.stderr
    with Image.open(folder / "output_grey.png") as image:
        assert image.mode == "RGB"
        pixels = np.asarray(image).astype(int)
    assert (pixels[:, :, 0] != pixels[:, :, 2]).any()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--task", "colorize", "-m", "tiny"], "tiny is to restore, not to colorize"),
        (["--task", "colorize"], "gpen-colorization-1024"),
    ],
)
def test_a_model_for_something_else_ends_with_three(
    facemend: Facemend, astronaut: Path, arguments: list[str], says: str
) -> None:
    answer = facemend("restore", astronaut, *arguments)
    assert answer.exit_code == 3
    assert says in answer.stderr
