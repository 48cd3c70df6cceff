"""``facemend evaluate``: from the command line to table and contact sheet."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from tests.worker.engine.small_models import save_model
from worker.commands.models.evaluate import evaluate


def call(*arguments: object, **environment: str) -> Result:
    return CliRunner().invoke(evaluate, [str(each) for each in arguments], env=environment)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(2):
        coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{seed}.png"), cv2.resize(coarse, (128, 128)))
    return folder


def test_a_model_on_degraded_photos_gives_json_and_a_contact_sheet(
    photos: Path, tmp_path: Path
) -> None:
    save_model(tmp_path, "same", unchanging=True)
    sheet = tmp_path / "out" / "sheet.png"
    result = call(
        *("--photos", photos, "--model", "same", "--degrade", "light", "--seed", 3),
        *("--sheet", sheet, "--json"),
        FACEMEND_MODELS_DIR=str(tmp_path),
        FACEMEND_DEVICE="cpu",
    )
    assert result.exit_code == 0, result.output
    table = json.loads(result.stdout)
    assert [table[key] for key in ("photos", "px", "damage", "seed")] == [2, 128, "light", 3]
    assert table["rows"][1]["name"] == "restored"
    assert table["rows"][1]["psnr_db"] > 20
    assert table["rows"][1]["fid"] is None
    drawn = cv2.imread(str(sheet))
    assert drawn is not None
    assert drawn.shape == (128, 2 * 3 * 128, 3)


def test_two_folders_give_a_markdown_table(photos: Path) -> None:
    result = call("--restored", photos, "--reference", photos, "--template", "ffhq")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].startswith("| photos 2 | SSIM |")
    assert "| restored | 1.0000 |" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "either --photos"),
        (["--restored", "a"], "either --photos"),
        (["--photos", "a", "--reference", "b"], "either --photos"),
        (["--restored", "nowhere", "--reference", "nowhere"], "no photos at nowhere"),
    ],
)
def test_a_wrong_command_has_exit_code_2(arguments: list[str], says: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--fid-weights", "nowhere.pth"], "no weights at nowhere.pth"),
        (["--lpips-weights", "a.pth"], "needs both"),
        (["--model", "nobody"], "there is no model 'nobody'"),
    ],
)
def test_missing_models_and_weights_are_errors_without_output(
    photos: Path, more: list[str], says: str
) -> None:
    result = call("--photos", photos, *more)
    assert result.exit_code == 3
    assert says in result.stderr
    assert not result.stdout


def test_the_bars_are_measured_for_three_recipes_and_written_into_a_card(
    photos: Path, tmp_path: Path
) -> None:
    save_model(tmp_path, "same", unchanging=True)
    card = tmp_path / "card.md"
    result = call(
        *("--photos", photos, "--model", "same", "--bars", "--json", "--card", card),
        FACEMEND_MODELS_DIR=str(tmp_path),
        FACEMEND_DEVICE="cpu",
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [each["recipe"] for each in report["recipes"]] == ["light", "x4", "x8"]
    assert not report["passed"]
    assert "PSNR" in report["recipes"][1]["misses"]
    assert report["recipes"][1]["restored"]["gradient"] > 0
    assert "| x4 | degraded |" in card.read_text()


def test_a_blind_comparison_is_written_and_counted(photos: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_model(tmp_path, name, unchanging=True)
    look = tmp_path / "look"
    result = call(
        *("--photos", photos, "--model", "one", "--over", "two", "--blind", look),
        *("--counts", 1, 1, 0),
        FACEMEND_MODELS_DIR=str(tmp_path),
        FACEMEND_DEVICE="cpu",
    )
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in look.iterdir()) == [
        "ballot.csv",
        "key.json",
        "sheet-01.png",
        "sheet-02.png",
    ]
    (look / "ballot.csv").write_text("sheet,best first\n01,CAB\n")
    counted = json.loads(call("--tally", look, "--json").stdout)["preferences"]
    assert {each["sheets"] for each in counted} == {1}
    assert sum(each["won"] for each in counted if each["group"] == "all") == 3


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--photos", "a", "--bars", "--blind", "b"], "--bars or --blind"),
        (["--restored", "a", "--reference", "b", "--bars"], "restore --photos themselves"),
        (["--tally", "nowhere"], "cannot be read as the key"),
    ],
)
def test_ways_that_do_not_go_together_are_refused(more: list[str], says: str) -> None:
    result = call(*more)
    assert result.exit_code == 2
    assert says in result.stderr
