"""The command line is the record: every field is an option, and `--help` explains each."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from worker.training.options import TrainConfig, parse

NEEDED = ["--photos", "a.zip", "--validation", "b.zip", "--out", "run"]


def test_what_is_not_given_keeps_its_default() -> None:
    config = parse(NEEDED)
    assert config == TrainConfig(Path("a.zip"), Path("b.zip"), Path("run"))


def test_what_is_given_is_converted() -> None:
    config = parse([*NEEDED, "--minutes", "2.5", "--steps", "9", "--no-bf16", "--init", "x.pt"])
    assert (config.minutes, config.steps, config.bf16, config.init) == (2.5, 9, False, Path("x.pt"))


def test_help_explains_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        parse(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for each in fields(TrainConfig):
        assert "--" + each.name.replace("_", "-") in text
    assert "example" in text


@pytest.mark.parametrize(
    "wrong", [["--steps", "0"], ["--batch", "-1"], ["--resume", "--init", "x.pt"]]
)
def test_senseless_options_are_refused(wrong: list[str]) -> None:
    with pytest.raises(ValueError, match=r"must be above zero|not both"):
        parse([*NEEDED, *wrong])
