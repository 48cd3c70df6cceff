"""What changes during a training, and how it is made, saved and brought back."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from shared.errors import SettingsInvalid, WeightsInvalid
from worker.engine.gpen.networks import Generator, GpenConfig, build_generator, load_generator
from worker.training.adversary import Adversary
from worker.training.checkpoint import read_checkpoint, save_checkpoint
from worker.training.config import FREE_ON_RESUME, TrainConfig
from worker.training.growing import grow_to
from worker.training.identity_start import start_from_identity

CHECKPOINT, BEST = "checkpoint.pt", "best.pt"
_PROGRESS = ("step", "elapsed_s", "best_psnr", "loss_scale")


@dataclass
class State:
    """The generator, its average, the optimizers, the discriminator, and how far they are."""

    generator: Generator
    averaged: Generator
    optimizer: torch.optim.Optimizer
    adversary: Adversary | None = None
    step: int = 0
    elapsed_s: float = 0.0
    best_psnr: float = 0.0
    loss_scale: float = 1.0

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """The generator's, and the discriminator's if there is one."""
        return [self.optimizer, *([self.adversary.optimizer] if self.adversary else [])]

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        """Exponential moving average; shorter at the start, when the weights still run."""
        keep = min(decay, (1 + self.step) / (10 + self.step))
        ours, theirs = self.averaged.parameters(), self.generator.parameters()
        torch._foreach_lerp_(list(ours), list(theirs), 1.0 - keep)

    def save(self, config: TrainConfig, name: str = CHECKPOINT) -> Path:
        """Write everything that resuming needs; raises TrainingFailed if that is not possible."""
        path = config.out / name
        held: dict[str, Any] = {
            "g_ema": self.averaged.state_dict(),
            "g": self.generator.state_dict(),
            "g_optim": self.optimizer.state_dict(),
            "progress": {key: getattr(self, key) for key in _PROGRESS},
            "config": config.plain(),
        }
        held |= self.adversary.state_dict() if self.adversary else {}
        save_checkpoint(path, held)
        return path


def start(config: TrainConfig) -> State:
    """Return a fresh state, one from given weights, or the one where this training stopped.

    Raises WeightsInvalid for a file of something else, and SettingsInvalid for weights of another
    network and for a resumption with options that would change the course of the training.
    """
    held: dict[str, Any] = {}
    if config.resume:
        held = _read_resumable(config)
    generator = _generator(config, held).to(config.device)
    averaged = load_generator(held["g_ema"]) if held else copy.deepcopy(generator)
    averaged.to(config.device).requires_grad_(False)
    if config.channels_last:
        for model in (generator, averaged):
            _to_channels_last(model)
    state = State(generator, averaged, _optimizer(config, generator))
    state.loss_scale = 1024.0 if config.dtype == torch.float16 else 1.0
    if config.has_discriminator:
        old = held or {"d": _discriminator_of(config.init)}
        state.adversary = Adversary(config, old)
    if held:
        state.optimizer.load_state_dict(held["g_optim"])
        for key in _PROGRESS:
            setattr(state, key, held["progress"][key])
    return state


def _generator(config: TrainConfig, held: dict[str, Any]) -> Generator:
    shape = GpenConfig(config.size, config.size, config.channel_multiplier, config.narrow)
    if held:
        return load_generator(held["g"])
    if config.init:
        return grow_to(load_generator(read_checkpoint(config.init)), shape)
    generator = build_generator(shape)
    start_from_identity(generator)
    return generator


def _optimizer(config: TrainConfig, generator: Generator) -> torch.optim.Optimizer:
    """One group each for encoder and decoder: ``share`` is the multiple of the common rate."""
    decoder = list(generator.generator.parameters())
    inside = {id(each) for each in decoder}
    encoder = [each for each in generator.parameters() if id(each) not in inside]
    groups = [{"params": encoder, "share": 1.0}]
    if config.decoder_rate > 0:
        groups.append({"params": decoder, "share": config.decoder_rate})
    else:
        generator.generator.requires_grad_(False)
    return torch.optim.Adam(groups, lr=config.learning_rate, betas=(0.9, 0.99))


def _read_resumable(config: TrainConfig) -> dict[str, Any]:
    path = config.out / CHECKPOINT
    held = read_checkpoint(path)
    if missing := {"g", "g_ema", "g_optim", "progress", "config"} - held.keys():
        raise WeightsInvalid(f"{path} is no checkpoint of a training: {min(missing)} missing")
    old, new = held["config"], config.plain()
    for name in sorted(new.keys() - FREE_ON_RESUME):
        if old.get(name) != new[name]:
            raise SettingsInvalid(
                f"{name} was {old.get(name)} and is {new[name]}: a resumed training keeps its "
                "options; start another one from it with init"
            )
    if config.schedule == "cosine" and old.get("steps") != new["steps"]:
        raise SettingsInvalid(
            f"steps was {old.get('steps')} and is {new['steps']}: the cosine's length is fixed at "
            "the start; give the old one (and stop_after), or schedule constant from the start"
        )
    return held


def _discriminator_of(path: Path | None) -> Any:
    return read_checkpoint(path).get("d") if path else None


def _to_channels_last(model: Generator) -> None:
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
