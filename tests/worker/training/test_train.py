"""The loop learns, resumes, adds a discriminator, and says what is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from worker.training.checkpoint import read_checkpoint, read_generator
from worker.training.options import TrainConfig
from worker.training.train import main, train


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    """A training on made-up photos (smooth blobs) that takes seconds."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        coarse = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (32, 32), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return TrainConfig(
        photos=folder, validation=folder, out=tmp_path / "run", size=32, narrow=0.0625,
        channel_multiplier=2, batch=4, steps=12, learning_rate=2e-3, warmup_steps=2,
        average=0.5, log_every=4, validate_every=6,
    )  # fmt: skip


def log_of(config: TrainConfig) -> list[dict[str, float]]:
    return [json.loads(line) for line in (config.out / "log.jsonl").read_text().splitlines()]


def test_a_training_gets_better_than_its_input(config: TrainConfig) -> None:
    said: list[str] = []
    best = train(replace(config, steps=40, validate_every=20), said.append)
    gains = [line["gain_db"] for line in log_of(config) if "gain_db" in line]
    assert abs(gains[0]) < 0.1, "the start is the identity"
    assert max(gains) > 0.15
    assert read_checkpoint(best)["gain_db"] == max(gains)
    assert read_generator(best).config.size == 32
    assert "6 photos to learn from" in said[0]


def test_a_training_is_repeatable(config: TrainConfig, tmp_path: Path) -> None:
    runs = [replace(config, out=tmp_path / name, steps=3) for name in ("one", "two")]
    for run in runs:
        train(run, lambda _: None)
    one, two = (read_checkpoint(run.out / "checkpoint.pt")["g"] for run in runs)
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_stopped_training_goes_on_where_it_stopped(config: TrainConfig, tmp_path: Path) -> None:
    steady = replace(config, final_rate=1.0, warmup_steps=1)
    whole = replace(steady, out=tmp_path / "whole", steps=6)
    train(whole, lambda _: None)
    train(replace(steady, steps=3), lambda _: None)
    train(replace(steady, steps=6, resume=True), lambda _: None)
    expected, resumed = (read_checkpoint(run.out / "checkpoint.pt") for run in (whole, steady))
    assert resumed["progress"]["step"] == 6
    for key in ("g", "g_ema"):
        assert all(torch.equal(expected[key][name], resumed[key][name]) for name in expected[key])


def test_the_second_stage_trains_a_discriminator_and_goes_on(
    config: TrainConfig, tmp_path: Path
) -> None:
    first = train(replace(config, steps=2), lambda _: None)
    sharp = replace(
        config, out=tmp_path / "sharp", init=first, steps=3, features=0.1, adversarial=0.01,
        penalty_every=2, discriminator_narrow=0.03125, threads=2, part=2, log_every=1,
    )  # fmt: skip
    train(sharp, lambda _: None)
    train(replace(sharp, init=None, resume=True, steps=4), lambda _: None)
    assert {"g_ema", "g", "d", "g_optim", "d_optim"} <= set(
        read_checkpoint(sharp.out / "checkpoint.pt")
    )
    steps = [line for line in log_of(sharp) if "discriminator" in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    assert all(line["features"] > 0 and line["discriminator"] > 0 for line in steps)


def test_time_ends_a_training_too(config: TrainConfig) -> None:
    train(replace(config, minutes=1e-6), lambda _: None)
    assert read_checkpoint(config.out / "checkpoint.pt")["progress"]["step"] <= 1


def test_an_interrupted_training_is_saved(config: TrainConfig) -> None:
    said: list[str] = []

    def interrupt(line: str) -> None:
        said.append(line)
        if line.startswith("step 4"):
            raise KeyboardInterrupt

    train(config, interrupt)
    assert said[-1].startswith("interrupted")
    assert read_checkpoint(config.out / "checkpoint.pt")["progress"]["step"] == 4


def test_the_command_line_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "absent")
    assert main(["--photos", folder, "--validation", folder, "--out", str(tmp_path)]) == 2
    assert "train: no photos at" in capsys.readouterr().err


def test_resuming_nothing_is_refused(
    config: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    needed = ["--photos", str(config.photos), "--validation", str(config.validation)]
    assert main([*needed, "--out", str(config.out), "--resume"]) == 2
    assert "no weights at" in capsys.readouterr().err
