"""Train a GPEN generator from photos; `facemend train --help` explains every option.

One loop, to be read from top to bottom. Everything is written to the folder `out`:

    checkpoint.pt       the whole state, every few minutes and at SIGTERM; `resume` goes on from it
    checkpoint-N.pt     the same, kept, every `save_every` steps
    best.pt             the averaged weights with the highest validation PSNR
    log.csv, samples/   the figures, and sheets of degraded | restored | original
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import torch
from torch import Tensor, nn

from shared.errors import TrainingFailed
from worker.training.checkpoint import save_checkpoint
from worker.training.config import TrainConfig
from worker.training.data.batches import Batches
from worker.training.data.photos import load_photos
from worker.training.distributed import Processes, joined_processes
from worker.training.journal import Journal, Report
from worker.training.measure.validation import ValidationSet, contact_sheet, measure, write_png
from worker.training.objective import Objective
from worker.training.parallel import Figures, Parallel
from worker.training.state import BEST, State, start
from worker.training.stopping import StopRequest

_LEAST_LOSS_SCALE = 1e-4
#: Called after each step; the sprint exports and measures there.
OnStep = Callable[[State], None]


def train(config: TrainConfig, report: Report, on_step: OnStep = lambda _state: None) -> Path:
    """Train until `steps`, `minutes` or a signal end it; return the file with the best weights.

    Raises DatasetError, SettingsInvalid, WeightsInvalid, and TrainingFailed if a loss is no number
    any more or a file cannot be written; the newest good checkpoint is kept.
    """
    torch.manual_seed(config.seed)
    with ExitStack() as stack:
        processes = stack.enter_context(joined_processes(config.device))
        validation = ValidationSet.of(load_photos(config.validation, config.size))
        batches = stack.enter_context(closing(Batches(config, processes.rank)))
        config.out.mkdir(parents=True, exist_ok=True)
        state = start(config)
        journal = stack.enter_context(closing(_open_journal(config, processes, report)))
        stop = stack.enter_context(StopRequest())
        run = Training(config, state, processes, validation, journal)
        run.loop(batches, stop, on_step)
    return config.out / BEST


def _open_journal(config: TrainConfig, processes: Processes, report: Report) -> Journal:
    if processes.is_first:
        return Journal(config.out, report, config.tensorboard)
    return Journal(config.out, lambda _line: None)


class Training:
    """One training: its options, its state, and where it reports to."""

    def __init__(
        self,
        config: TrainConfig,
        state: State,
        processes: Processes,
        validation: ValidationSet,
        journal: Journal,
    ) -> None:
        self.config, self.state, self.processes = config, state, processes
        self.validation, self.journal = validation, journal
        self.parallel = Parallel(config.threads, config.micro_batch)
        self.objective = Objective.of(config, state.adversary)
        self._forward = torch.compile(state.generator) if config.compile else state.generator
        self._began = time.monotonic() - state.elapsed_s
        self._saved = time.monotonic()
        models: list[nn.Module] = [state.generator, state.averaged]
        models += [state.adversary.model] if state.adversary else []
        processes.share_weights([each for model in models for each in model.parameters()])

    def loop(self, batches: Batches, stop: StopRequest, on_step: OnStep) -> None:
        """Take steps until the budget is used up, or a signal or `stop_after` asks to stop."""
        config, state = self.config, self.state
        self.journal.report(
            f"{len(batches.photos)} photos to learn from, {len(self.validation.photos)} to "
            f"validate on, {_count(state):,} weights at {config.size} px, step {state.step}"
        )
        self.validate()
        for step, (low, sharp) in self._steps(batches, stop):
            rate = set_rates(config, state, self.progress())
            figures = self.update(low.to(config.device), sharp.to(config.device))
            state.step = step + 1
            state.elapsed_s = time.monotonic() - self._began
            if state.step % config.log_every == 0:
                self._note({"rate": rate} | figures)
            if state.step % config.validate_every == 0:
                self.validate()
            self._save_if_due()
            on_step(state)
        self.validate()
        self._save()
        if stop.requested:
            self.journal.report("stopped: the state is saved, go on with --resume")

    def progress(self) -> float:
        """Return the share of the budget that is used, of steps or of time, the larger one."""
        return max(
            self.state.step / self.config.steps, self.state.elapsed_s / (60 * self.config.minutes)
        )

    def update(self, low: Tensor, sharp: Tensor) -> Figures:
        """Take one step of the generator, and of the discriminator if there is one.

        Raises TrainingFailed, with the state as it was before, if a gradient is no number.
        """
        config, state = self.config, self.state

        def loss(low: Tensor, sharp: Tensor) -> tuple[Tensor, Figures, Tensor]:
            with config.autocast():
                restored = self._forward(low).float()
            total, figures = self.objective.loss(restored, sharp)
            return total, figures, restored

        figures, restored = self.parallel.backward(
            state.generator, loss, low, sharp, scale=state.loss_scale
        )
        self.processes.average_gradients(state.generator)
        if not self._apply(state.generator, state.optimizer):
            return figures
        state.update_average(config.ema_decay)
        if state.adversary:
            figures |= state.adversary.gradients(self.parallel, restored, sharp, state.step)
            self.processes.average_gradients(state.adversary.model)
            self._apply(state.adversary.model, state.adversary.optimizer)
        return figures

    def _apply(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> bool:
        """Step, unless the gradient overflowed in fp16: then halve the loss scale and skip."""
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if not self.processes.any(not math.isfinite(norm)):
            optimizer.step()
            return True
        if self.state.loss_scale > _LEAST_LOSS_SCALE and self.config.dtype == torch.float16:
            self.state.loss_scale /= 2
            return False
        path = self._save()
        raise TrainingFailed(
            f"a gradient is no number at step {self.state.step}: nothing was changed by it, and "
            f"{path} holds the state before; go on with a lower learning rate"
        )

    def validate(self) -> None:
        """Measure the averaged generator; keep its weights if they are the best so far."""
        if not self.processes.is_first:
            return
        config, state = self.config, self.state
        restored = self.validation.restore(state.averaged)
        reached = measure(restored, self.validation.photos.images)
        before = self.validation.before
        figures = {
            "psnr_db": reached.psnr_db,
            "gain_db": reached.psnr_db - before.psnr_db,
            "ssim": reached.ssim,
        }
        self._note(figures)
        if config.sample_rows:
            rows = self.validation.rows(restored)[: config.sample_rows]
            write_png(contact_sheet(rows), config.out / "samples" / f"{state.step:08d}.png")
        if reached.psnr_db > state.best_psnr:
            state.best_psnr = reached.psnr_db
            weights = {"g_ema": state.averaged.state_dict(), "step": state.step}
            save_checkpoint(config.out / BEST, weights | figures)

    def _steps(
        self, batches: Batches, stop: StopRequest
    ) -> Iterator[tuple[int, tuple[Tensor, Tensor]]]:
        """Number and photos of each step to come."""
        for step, batch in batches.from_step(self.state.step):
            due = self.progress() >= 1.0 or (0 < self.config.stop_after <= step)
            if self.processes.any(due or stop.requested):
                return
            yield step, batch

    def _save_if_due(self) -> None:
        if self.state.step % self.config.save_every == 0:
            self._save(f"checkpoint-{self.state.step}.pt")
        if time.monotonic() - self._saved > 60 * self.config.save_minutes:
            self._save()

    def _save(self, name: str = "checkpoint.pt") -> Path:
        self._saved = time.monotonic()
        if not self.processes.is_first:
            return self.config.out / name
        return self.state.save(self.config, name)

    def _note(self, figures: Figures) -> None:
        if self.processes.is_first:
            done, state = self.progress(), self.state
            left_s = state.elapsed_s * (1 - done) / done if 0 < done < 1 else None
            self.journal.note(state.step, state.elapsed_s, figures, left_s)


def set_rates(config: TrainConfig, state: State, progress: float) -> float:
    """Set all learning rates: a linear warm-up, then constant or half a cosine; return the rate."""
    rate = config.learning_rate * min(1.0, (state.step + 1) / max(1, config.warmup_steps))
    if config.schedule == "cosine":
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
        rate *= config.final_rate + (1 - config.final_rate) * cosine
    for optimizer in state.optimizers():
        for group in optimizer.param_groups:
            group["lr"] = rate * group["share"]
    return rate


def _count(state: State) -> int:
    return sum(tensor.numel() for tensor in state.generator.parameters())
