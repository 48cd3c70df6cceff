"""Flags, YAML file and presets give one record, and what cannot be is refused by its name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from shared.errors import SettingsInvalid
from worker.training.config import TrainConfig, make_config

NEEDED = {"photos": "a.zip", "validation": "b.zip", "out": "run"}


def test_what_is_not_given_keeps_its_default() -> None:
    assert make_config(NEEDED) == TrainConfig(Path("a.zip"), Path("b.zip"), Path("run"))


def test_a_flag_wins_over_the_file_and_the_file_over_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("photos: a.zip\nvalidation: b.zip\nout: run\nlearning-rate: 0.01\nsteps: 9\n")
    config = make_config({"steps": 5, "batch": None}, file=file, preset="paper")
    assert (config.steps, config.learning_rate, config.decoder_rate) == (5, 0.01, 0.1)
    assert config.feature_matching == 0.02
    assert config.batch == 8


def test_the_rates_of_the_paper_and_of_its_users_are_presets() -> None:
    paper = make_config(NEEDED, preset="paper")
    ratios = (1.0, paper.decoder_rate, paper.discriminator_rate)
    assert [100 * each for each in ratios] == [100, 10, 1]
    constant = make_config(NEEDED, preset="constant")
    rate = constant.learning_rate
    assert (rate, rate * constant.discriminator_rate) == (0.0016, pytest.approx(0.0018))
    assert constant.schedule == "constant"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"steps": 0}, "steps must be above zero"),
        ({"batch": "many"}, "batch cannot be 'many'"),
        ({"batch": 2.5}, "batch must be a whole number"),
        ({"resume": "yes"}, "resume cannot be 'yes'"),
        ({"resume": True, "init": "x.pt"}, "resume or init"),
        ({"schedule": "steps"}, "schedule must be one of"),
        ({"perceptual": 1.0}, "perceptual needs perceptual_weights"),
        ({"precision": "fp16"}, "fp16 trains on a GPU only"),
        ({"colour": 1}, "no option 'colour'"),
    ],
)
def test_senseless_options_are_refused(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsInvalid, match=says):
        make_config({**NEEDED, **wrong})


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [\n"])
def test_a_file_that_holds_no_options_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(SettingsInvalid, match=r"run\.yaml"):
        make_config(NEEDED, file=tmp_path / "run.yaml")


def test_a_missing_path_or_an_unknown_preset_is_named() -> None:
    with pytest.raises(SettingsInvalid, match="validation is missing"):
        make_config({"photos": "a", "out": "b"})
    with pytest.raises(SettingsInvalid, match="no preset 'best'"):
        make_config(NEEDED, preset="best")
    with pytest.raises(SettingsInvalid, match="cannot be read as YAML"):
        make_config(NEEDED, file=Path("nowhere.yaml"))


def test_a_cpu_without_bf16_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert make_config(NEEDED).dtype is None
    assert make_config({**NEEDED, "precision": "bf16"}).dtype == torch.bfloat16


def test_options_can_be_written_and_read_again() -> None:
    config = make_config({**NEEDED, "init": "x.pt"}, preset="sharpen")
    assert make_config(config.plain()) == config
