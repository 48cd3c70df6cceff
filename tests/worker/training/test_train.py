"""The loop learns, resumes bit by bit, adds a discriminator, and says what is wrong."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from shared.errors import DatasetError, SettingsInvalid, TrainingFailed, WeightsInvalid
from worker.training import losses
from worker.training.checkpoint import export_generator, read_checkpoint, read_generator
from worker.training.config import TrainConfig
from worker.training.journal import read_log
from worker.training.state import State, start
from worker.training.train import train

QUIET = lambda _line: None  # noqa: E731


def held(config: TrainConfig) -> dict[str, Any]:
    return read_checkpoint(config.out / "checkpoint.pt")


def equal(one: Any, other: Any) -> bool:
    """Whether two checkpoints hold the same, tensor by tensor, bit by bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def test_a_training_gets_better_than_its_input(config: TrainConfig) -> None:
    said: list[str] = []
    long = replace(config, batch=4, steps=40, validate_every=20, log_every=20)
    best = train(long, said.append)
    gains = [line["gain_db"] for line in read_log(config.out / "log.csv") if "gain_db" in line]
    assert abs(gains[0]) < 0.1, "the start is the identity"
    assert max(gains) > 0.15
    assert read_checkpoint(best)["gain_db"] == pytest.approx(max(gains), abs=1e-5)
    assert read_generator(best).config.size == 32
    assert "6 photos to learn from" in said[0]
    assert any(line.startswith("step 20") and "left" in line for line in said)


SHARP = {"feature_matching": 0.1, "adversarial": 0.01, "penalty_every": 2, "schedule": "cosine"}


@pytest.mark.parametrize("losses_of", [{}, SHARP], ids=["pixels", "discriminator"])
def test_twenty_steps_are_ten_and_ten_bit_by_bit(
    config: TrainConfig, tmp_path: Path, losses_of: dict[str, Any]
) -> None:
    whole = replace(config, **losses_of, steps=20, out=tmp_path / "whole")
    halves = replace(whole, out=tmp_path / "halves", loaders=2)
    train(whole, QUIET)
    train(replace(halves, stop_after=10), QUIET)
    assert held(halves)["progress"]["step"] == 10
    train(replace(halves, resume=True), QUIET)
    one, other = held(whole), held(halves)
    for key in one.keys() - {"progress", "config"}:
        assert equal(one[key], other[key]), key
    assert one["progress"]["step"] == other["progress"]["step"] == 20
    assert one["progress"]["best_psnr"] == other["progress"]["best_psnr"]


@pytest.mark.parametrize(
    "other", [{"learning_rate": 1e-3}, {"batch": 4}, {"seed": 2}, {"edges": 0.5}, {"steps": 9}]
)
def test_resuming_with_other_options_is_refused_by_name(
    config: TrainConfig, other: dict[str, Any]
) -> None:
    train(replace(config, stop_after=1), QUIET)
    with pytest.raises(SettingsInvalid, match=f"^{next(iter(other))} was"):
        train(replace(config, resume=True, **other), QUIET)


def test_options_that_change_no_step_may_differ(config: TrainConfig) -> None:
    train(replace(config, stop_after=1), QUIET)
    train(replace(config, resume=True, loaders=1, log_every=1, threads=2, stop_after=2), QUIET)
    assert held(config)["progress"]["step"] == 2


def test_sigterm_ends_the_step_saves_and_returns(config: TrainConfig) -> None:
    said: list[str] = []

    def stop(state: State) -> None:
        if state.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    train(config, said.append, stop)
    assert said[-1].startswith("stopped")
    assert held(config)["progress"]["step"] == 2
    assert signal.getsignal(signal.SIGTERM) == before


def test_time_ends_a_training_too(config: TrainConfig) -> None:
    train(replace(config, minutes=1e-6), QUIET)
    assert held(config)["progress"]["step"] <= 1


def test_a_loss_that_is_no_number_stops_it_and_keeps_the_last_good_state(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    steady = losses.pixel_loss

    def breaking(restored: torch.Tensor, sharp: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return steady(restored, sharp) * (float("nan") if len(calls) > 3 else 1.0)

    calls: list[int] = []
    monkeypatch.setattr(losses, "pixel_loss", breaking)
    with pytest.raises(TrainingFailed, match=r"no number at step 3.*checkpoint\.pt"):
        train(config, QUIET)
    monkeypatch.setattr(losses, "pixel_loss", steady)
    assert held(config)["progress"]["step"] == 3
    train(replace(config, out=config.out.parent / "whole"), QUIET)
    train(replace(config, resume=True), QUIET)
    assert equal(held(config)["g"], held(replace(config, out=config.out.parent / "whole"))["g"])


@contextmanager
def files_end_at(size: int) -> Iterator[None]:
    """Writing beyond that fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_stops_it_and_the_last_checkpoint_is_still_good(config: TrainConfig) -> None:
    train(replace(config, stop_after=2), QUIET)
    with pytest.raises(TrainingFailed, match="is as it was before"), files_end_at(10_000):
        train(replace(config, resume=True, validate_every=100), QUIET)
    assert held(config)["progress"]["step"] == 2
    assert not list(config.out.glob("*.partial"))
    train(replace(config, resume=True), QUIET)
    assert held(config)["progress"]["step"] == 6


def test_checkpoints_are_kept_every_so_many_steps(config: TrainConfig) -> None:
    train(replace(config, save_every=2), QUIET)
    assert sorted(path.name for path in config.out.glob("checkpoint-*.pt")) == [
        "checkpoint-2.pt",
        "checkpoint-4.pt",
        "checkpoint-6.pt",
    ]


def test_a_second_stage_starts_from_the_first(config: TrainConfig, tmp_path: Path) -> None:
    first = train(replace(config, steps=2), QUIET)
    sharp = replace(
        config, **SHARP, out=tmp_path / "sharp", init=first, steps=3, threads=2, micro_batch=1,
        log_every=1,
    )  # fmt: skip
    train(sharp, QUIET)
    assert {"g_ema", "g", "d", "g_optim", "d_optim"} <= held(sharp).keys()
    steps = [line for line in read_log(sharp.out / "log.csv") if "discriminator" in line]
    assert [line["step"] for line in steps] == [1, 2, 3]
    assert all(line["feature_matching"] > 0 and line["discriminator"] > 0 for line in steps)


def test_a_smaller_network_is_grown(config: TrainConfig, tmp_path: Path) -> None:
    small = train(replace(config, size=16, steps=2, narrow=0.0625), QUIET)
    train(replace(config, out=tmp_path / "grown", init=small, steps=2), QUIET)
    assert read_generator(tmp_path / "grown" / "best.pt").config.size == 32


def test_a_frozen_decoder_keeps_its_weights(config: TrainConfig) -> None:
    frozen = replace(config, decoder_rate=0.0, steps=3)
    torch.manual_seed(frozen.seed)
    before = {key: value.clone() for key, value in start(frozen).generator.state_dict().items()}
    train(frozen, QUIET)
    after = held(frozen)["g"]
    moved = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert "generator" not in moved
    assert "ecd0" in moved


def test_identity_and_perceptual_losses_are_used(config: TrainConfig, tmp_path: Path) -> None:
    pytest.importorskip("dlib")
    weights = tmp_path / "mobilenet.pth"
    save_mobilenet(weights)
    train(
        replace(
            config, steps=1, identity=0.1, perceptual=0.5, perceptual_weights=weights, log_every=1,
            validate_every=100,
        ),
        QUIET,
    )  # fmt: skip
    figures = read_log(config.out / "log.csv")[-1]
    assert figures["identity"] > 0
    assert figures["perceptual"] > 0


def save_mobilenet(path: Path) -> None:
    """Random weights: those that a classifier has learned come in no package of ours."""
    from worker.engine.faces.torchvision_compat import import_torchvision

    import_torchvision()
    from torchvision.models import mobilenet_v2

    torch.manual_seed(1)
    torch.save(mobilenet_v2(weights=None).state_dict(), path)


def test_pairs_replace_the_degradation(config: TrainConfig, photos: Path, tmp_path: Path) -> None:
    blurred = tmp_path / "blurred"
    blurred.mkdir()
    for file in photos.iterdir():
        image = cv2.imread(str(file))
        assert image is not None
        cv2.imwrite(
            str(blurred / file.with_suffix(".jpg").name), cv2.GaussianBlur(image, (0, 0), 2)
        )
    train(replace(config, pairs=blurred, steps=2), QUIET)
    assert held(config)["progress"]["step"] == 2


def test_samples_are_drawn(config: TrainConfig) -> None:
    train(replace(config, sample_rows=2, steps=3), QUIET)
    sheet = cv2.imread(str(config.out / "samples" / "00000003.png"))
    assert sheet is not None
    assert sheet.shape == (32, 2 * 96, 3)


def test_photos_that_cannot_be_used_are_refused(config: TrainConfig, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no image"):
        train(replace(config, photos=tmp_path / "empty"), QUIET)
    with pytest.raises(DatasetError, match="too small to be a sharp 256 px face"):
        train(replace(config, size=256), QUIET)


def test_weights_of_something_else_are_refused(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(WeightsInvalid, match="no weights at"):
        train(replace(config, resume=True), QUIET)
    exported = tmp_path / "model.safetensors"
    export_generator(start(config).generator, exported, {})
    with pytest.raises(SettingsInvalid, match="of another network"):
        train(replace(config, init=exported, narrow=0.125), QUIET)
    config.out.mkdir(exist_ok=True)
    torch.save({"g": {}}, config.out / "checkpoint.pt")
    with pytest.raises(WeightsInvalid, match="no checkpoint of a training"):
        train(replace(config, resume=True), QUIET)
