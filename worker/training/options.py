"""The options of a training: one frozen record, and the command line made from it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch


def _option(default: Any, text: str) -> Any:
    """A field with a default and a text for `--help`."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class TrainConfig:
    """Everything a training depends on."""

    photos: Path = field(metadata={"help": "folder or ZIP of aligned, square face photos"})
    validation: Path = field(metadata={"help": "the same, of other people"})
    out: Path = field(metadata={"help": "folder for checkpoint.pt, best.pt and log.jsonl"})
    init: Path | None = field(
        default=None, metadata={"help": "start from these weights instead of from the identity"}
    )
    resume: bool = _option(False, "go on from OUT/checkpoint.pt")
    size: int = _option(256, "pixels of a face, a power of two")
    channel_multiplier: int = _option(1, "width from 64 px upwards")
    narrow: float = _option(0.25, "width of everything; work grows with its square")
    batch: int = _option(8, "photos per step")
    part: int = _option(4, "photos of them that one thread takes at a time")
    threads: int = _option(1, "parts computed side by side; on a CPU, the number of its cores")
    steps: int = _option(6000, "end after so many")
    minutes: float = _option(math.inf, "end after so much time, if that comes first")
    learning_rate: float = _option(2e-3, "Adam's, at its peak")
    final_rate: float = _option(0.05, "share of it that is left at the end")
    warmup_steps: int = _option(50, "steps in which it grows to its peak")
    edges: float = _option(0.2, "weight of the edge loss (the pixel loss has 1)")
    features: float = _option(0.0, "weight of the feature loss; adds a discriminator")
    adversarial: float = _option(0.0, "weight of the adversarial loss; adds a discriminator")
    discriminator_narrow: float = _option(0.25, "width of the discriminator")
    penalty: float = _option(1.0, "R1 penalty of the discriminator")
    penalty_every: int = _option(16, "steps between two penalties")
    average: float = _option(0.998, "decay of the averaged weights, which are what is kept")
    seed: int = _option(1, "fixes weights, photos and degradations")
    bf16: bool = _option(True, "bfloat16 autocast")
    device: str = _option("cpu", "where to train: cpu, cuda, cuda:1")
    log_every: int = _option(20, "steps between two lines of the log")
    validate_every: int = _option(200, "steps between two validations")
    save_minutes: float = _option(3.0, "minutes between two checkpoints")

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.part, self.minutes, self.penalty_every) <= 0:
            raise ValueError("steps, batch, part, minutes and penalty-every must be above zero")
        if self.resume and self.init:
            raise ValueError("give --resume or --init, not both")

    def autocast(self) -> torch.autocast:
        """The context that networks run in."""
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.bf16)


def parse(arguments: Sequence[str] | None = None) -> TrainConfig:
    """The record for a command line; `--help` explains every option and ends the program."""
    parser = argparse.ArgumentParser(
        prog="python -m worker.training.train",
        description="Train a GPEN face restorer from aligned photos, on one CPU or GPU.",
        epilog=(
            "example, two stages: python -m worker.training.train --photos train.zip"
            " --validation val.zip --out runs/fidelity --minutes 60; then again with --out"
            " runs/sharp --init runs/fidelity/best.pt --features 0.02 --adversarial 0.002"
            " --learning-rate 5e-4 --minutes 20"
        ),
    )
    for each in fields(TrainConfig):
        _add(parser, each.name, str(each.type), each.default, each.metadata["help"])
    return TrainConfig(**vars(parser.parse_args(arguments)))


def _add(
    parser: argparse.ArgumentParser, name: str, kind: str, default: Any, explanation: str
) -> None:
    flag = "--" + name.replace("_", "-")
    if kind == "bool":
        how = argparse.BooleanOptionalAction
        parser.add_argument(flag, action=how, default=default, help=explanation)
        return
    required = isinstance(default, type(fields(TrainConfig)[0].default))
    convert = {"int": int, "float": float, "str": str}.get(kind, Path)
    if required:
        parser.add_argument(flag, type=convert, required=True, help=explanation)
    else:
        note = "" if default is None else f" (default {default})"
        parser.add_argument(flag, type=convert, default=default, help=explanation + note)
