"""Train a GPEN generator from photos: `python -m worker.training.train --help`.

One loop, to be read from top to bottom. Two stages, two runs: the first with pixel and edge losses
(fidelity); the second starts from the first's weights (`--init`) and adds the discriminator, whose
features and verdict make the result sharper. Everything is written to the folder `--out`:

    checkpoint.pt  the whole state, every few minutes; `--resume` goes on from it
    best.pt        the averaged weights with the highest validation PSNR
    log.jsonl      one line per report
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from shared.errors import DatasetError, WeightsInvalid
from worker.engine.gpen.networks import (
    Generator,
    GpenConfig,
    build_generator,
    load_generator,
)
from worker.training import losses
from worker.training.adversary import Adversary
from worker.training.checkpoint import read_checkpoint, save_checkpoint
from worker.training.data.degradations import TRAINING
from worker.training.data.photos import draw_batch, load_photos
from worker.training.identity_start import start_from_identity
from worker.training.measure.validation import Exam, mean_psnr, restore_all
from worker.training.options import TrainConfig, parse
from worker.training.parallel import Figures, Parallel


@dataclass
class State:
    """What changes during a training."""

    generator: Generator
    averaged: Generator
    optimizer: torch.optim.Optimizer
    parallel: Parallel
    adversary: Adversary | None = None
    step: int = 0
    elapsed_s: float = 0.0
    best_psnr: float = 0.0
    saved_s: float = field(default=0.0, repr=False)


def train(config: TrainConfig, report: Callable[[str], None] = click.echo) -> Path:
    """Train until `steps` or `minutes` are used up; answers the file with the best weights."""
    torch.manual_seed(config.seed)
    photos = load_photos(config.photos, config.size)
    exam = Exam.of(load_photos(config.validation, config.size))
    config.out.mkdir(parents=True, exist_ok=True)
    state = start(config)
    state.saved_s = state.elapsed_s
    weights = sum(tensor.numel() for tensor in state.generator.parameters())
    report(f"{len(photos)} photos to learn from, {len(exam.photos)} to validate on")
    report(f"{weights:,} weights at {config.size} px, step {state.step}")
    began = time.monotonic() - state.elapsed_s
    validate(config, state, exam, report)
    try:
        while (progress := _progress(config, state)) < 1.0:
            rate = _set_rate(config, state, progress)
            low, sharp = draw_batch(photos, TRAINING, config.batch, config.seed, state.step)
            figures = update(config, state, low.to(config.device), sharp.to(config.device))
            state.step += 1
            state.elapsed_s = time.monotonic() - began
            if state.step % config.log_every == 0:
                _log(config, report, state, {"rate": rate} | figures)
            if state.step % config.validate_every == 0:
                validate(config, state, exam, report)
            if state.elapsed_s - state.saved_s > 60 * config.save_minutes:
                save(config, state)
        validate(config, state, exam, report)
    except KeyboardInterrupt:
        report("interrupted: the state is saved, go on with --resume")
    save(config, state)
    return config.out / "best.pt"


def start(config: TrainConfig) -> State:
    """Fresh (from the identity), from given weights, or from where this training stopped."""
    held: dict[str, Any] = {}
    if config.resume:
        held = read_checkpoint(config.out / "checkpoint.pt")
        generator = load_generator(held["g"])
    elif config.init:
        held = {"d": read_checkpoint(config.init).get("d")}
        generator = load_generator(read_checkpoint(config.init))
    else:
        shape = GpenConfig(config.size, config.size, config.channel_multiplier, config.narrow)
        generator = build_generator(shape)
        start_from_identity(generator)
    generator = generator.to(config.device)
    averaged = load_generator(held["g_ema"]) if config.resume else copy.deepcopy(generator)
    averaged.to(config.device).requires_grad_(False)
    optimizer = torch.optim.Adam(generator.parameters(), lr=config.learning_rate, betas=(0.9, 0.99))
    parallel = Parallel(config.threads, config.part)
    state = State(generator, averaged, optimizer, parallel)
    if config.features or config.adversarial:
        state.adversary = Adversary(config, held)
    if config.resume:
        state.optimizer.load_state_dict(held["g_optim"])
        for key, value in held["progress"].items():
            setattr(state, key, value)
    return state


def update(config: TrainConfig, state: State, low: Tensor, sharp: Tensor) -> Figures:
    """One step of the generator, and of the discriminator if there is one."""

    def loss(low: Tensor, sharp: Tensor) -> tuple[Tensor, Figures, Tensor]:
        with config.autocast():
            restored = state.generator(low)
        pixels, edges = losses.pixel_loss(restored, sharp), losses.edge_loss(restored, sharp)
        total = pixels + config.edges * edges
        figures = {"pixels": pixels.item(), "edges": edges.item()}
        if state.adversary:
            extra, seen = state.adversary.judge(restored, sharp)
            total, figures = total + extra, figures | seen
        return total, figures, restored

    figures, restored = state.parallel.backward(state.generator, loss, low, sharp)
    torch.nn.utils.clip_grad_norm_(state.generator.parameters(), 1.0)
    state.optimizer.step()
    _average(config, state)
    if state.adversary:
        figures |= state.adversary.learn(state.parallel, restored, sharp, state.step)
    return figures


def validate(config: TrainConfig, state: State, exam: Exam, report: Callable[[str], None]) -> float:
    """PSNR of the averaged generator on the fixed recipe; the best weights are kept."""
    restored = restore_all(state.averaged, exam.degraded, bf16=config.bf16)
    reached = mean_psnr(restored, exam.photos.images)
    figures = {"psnr_db": reached, "gain_db": reached - exam.before_db}
    _log(config, report, state, figures)
    if reached > state.best_psnr:
        state.best_psnr = reached
        weights = {"g_ema": state.averaged.state_dict()}
        save_checkpoint(config.out / "best.pt", weights | {"step": state.step} | figures)
    return reached


def save(config: TrainConfig, state: State) -> None:
    """The whole state, for `--resume`."""
    state.saved_s = state.elapsed_s
    held: dict[str, Any] = {
        "g_ema": state.averaged.state_dict(),
        "g": state.generator.state_dict(),
        "g_optim": state.optimizer.state_dict(),
        "progress": {key: getattr(state, key) for key in ("step", "elapsed_s", "best_psnr")},
        "config": {key: str(value) for key, value in asdict(config).items()},
    }
    held |= state.adversary.state_dict() if state.adversary else {}
    save_checkpoint(config.out / "checkpoint.pt", held)


def _progress(config: TrainConfig, state: State) -> float:
    """Share of the budget used, of steps or of time, whichever is further."""
    return max(state.step / config.steps, state.elapsed_s / (60 * config.minutes))


def _set_rate(config: TrainConfig, state: State, progress: float) -> float:
    """Linear warm-up, then half a cosine down to `final_rate` of the peak."""
    warm = min(1.0, (state.step + 1) / config.warmup_steps)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    rate = config.learning_rate * warm * (config.final_rate + (1 - config.final_rate) * cosine)
    groups = list(state.optimizer.param_groups)
    if state.adversary:
        groups += state.adversary.optimizer.param_groups
    for group in groups:
        group["lr"] = rate
    return rate


@torch.no_grad()
def _average(config: TrainConfig, state: State) -> None:
    """Exponential moving average; shorter at the start, when the weights still run."""
    keep = min(config.average, (1 + state.step) / (10 + state.step))
    ours, theirs = state.averaged.parameters(), state.generator.parameters()
    torch._foreach_lerp_(list(ours), list(theirs), 1.0 - keep)


def _log(
    config: TrainConfig, report: Callable[[str], None], state: State, figures: Figures
) -> None:
    line = {"step": state.step, "elapsed_s": round(state.elapsed_s, 1)} | figures
    with (config.out / "log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")
    report("  ".join(f"{key} {value:.4g}" for key, value in line.items()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0, or 2 with a message on what to do."""
    try:
        best = train(parse(arguments))
    except (DatasetError, WeightsInvalid, ValueError) as error:
        click.echo(f"train: {error}", err=True)
        return 2
    click.echo(f"best weights in {best}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
