"""A few minutes of a fast machine, used whole: `python -m worker.training.sprint --minutes 10`.

Everything comes from one carried folder: photos.zip, validation.zip, and, if they are there,
init.safetensors (or .pt) to start from and options.yaml. The batch is the largest that still makes
the machine faster; each minute the averaged weights are written in half precision, and the state
beside them. A second sprint goes on from the newest state.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch

from shared.errors import FacemendError, SettingsInvalid
from worker.engine.devices import choose_device, is_out_of_memory
from worker.training.checkpoint import export_generator
from worker.training.config import TrainConfig, make_config
from worker.training.data.photos import load_photos
from worker.training.state import CHECKPOINT, State, start
from worker.training.train import train

_MOST_BYTES = 16_000_000  # of a file that is carried back each minute
_LARGEST_BATCH = 512
_WORTHWHILE = 1.08  # a doubled batch has to be so much faster per photo


@dataclass
class Exporter:
    """Writes ``sprint-NNN.safetensors`` after each ``every_s``, and the state beside it."""

    config: TrainConfig
    every_s: float
    report: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _due_s: float = 0.0

    def __post_init__(self) -> None:
        self._due_s = self.clock() + self.every_s

    def __call__(self, state: State) -> None:
        """Called after each step."""
        if self.clock() >= self._due_s:
            self._due_s = self.clock() + self.every_s
            self.write(state)

    def write(self, state: State) -> Path:
        """Write both now; raises SettingsInvalid for a network too large to carry."""
        number = next(n for n in itertools.count(1) if not self._file(n).exists())
        metadata = {
            "name": self._file(number).stem,
            "size": str(self.config.size),
            "template": "ffhq",
            "step": str(state.step),
        }
        path = self._file(number)
        export_generator(state.averaged, path, metadata)
        if path.stat().st_size > _MOST_BYTES:
            raise SettingsInvalid(
                f"{path} has {path.stat().st_size / 1e6:.1f} MB, more than "
                f"{_MOST_BYTES / 1e6:.0f} MB: make the network narrower"
            )
        state.save(self.config)
        self.report(f"step {state.step}: {path.name}, {path.stat().st_size / 1e6:.1f} MB")
        return path

    def _file(self, number: int) -> Path:
        return self.config.out / f"sprint-{number:03d}.safetensors"


def sprint(
    folder: Path,
    minutes: float,
    report: Callable[[str], None],
    *,
    every_s: float = 60.0,
    largest_batch: int = _LARGEST_BATCH,
    **overrides: Any,
) -> Path:
    """Train for so many minutes on what lies in ``folder``; return the last exported file.

    ``overrides`` are options of a training. Raises what ``train`` raises.
    """
    config = _config(folder, minutes, overrides)
    for path in (config.photos, config.validation):  # before the machine's time is spent
        load_photos(path, config.size)
    if "batch" not in overrides and not config.resume:
        config = replace(config, batch=best_batch(config, report, largest=largest_batch))
        config = replace(config, micro_batch=config.batch)
    exporter = Exporter(config, every_s, report)
    last: list[State] = []

    def on_step(state: State) -> None:
        last[:] = [state]
        exporter(state)

    train(config, report, on_step)
    return exporter.write(last[0] if last else start(replace(config, resume=True, init=None)))


def best_batch(
    config: TrainConfig,
    report: Callable[[str], None],
    *,
    largest: int = _LARGEST_BATCH,
    measure: Callable[[TrainConfig], float] | None = None,
) -> int:
    """Double the batch as long as a photo gets cheaper by it and memory suffices."""
    measure = measure or _seconds_per_photo
    best, best_s = config.batch, measure(config)
    while 2 * best <= largest:
        try:
            wider_s = measure(replace(config, batch=2 * best, micro_batch=2 * best))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            break
        if best_s < _WORTHWHILE * wider_s:
            break
        best, best_s = 2 * best, wider_s
    report(f"batches of {best}: {1 / best_s:.1f} photos a second")
    return best


def _seconds_per_photo(config: TrainConfig) -> float:
    """Of a pass forth and back, after one to warm up."""
    generator = start(replace(config, resume=False)).generator
    if config.compile:
        generator = torch.compile(generator)  # type: ignore[assignment]
    photos = torch.zeros(config.batch, 3, config.size, config.size, device=config.device)
    took_s = 0.0
    for _ in range(2):
        began = time.perf_counter()
        with config.autocast():
            loss = generator(photos).float().square().mean()
        loss.backward()
        if photos.is_cuda:
            torch.cuda.synchronize()
        took_s = time.perf_counter() - began
    return took_s / config.batch


def _config(folder: Path, minutes: float, overrides: dict[str, Any]) -> TrainConfig:
    """From ``options.yaml``, what lies in the folder, and what the device does best."""
    out = folder / "out"
    device = choose_device(str(overrides.pop("device", "auto")))
    on_gpu = device.type == "cuda"
    flags: dict[str, Any] = {
        "photos": _found(folder, "photos"),
        "validation": _found(folder, "validation"),
        "out": out,
        "device": str(device),
        "channels_last": True,
        "compile": on_gpu,
        "loaders": max(1, torch.get_num_threads() - 1),
        "schedule": "constant",
        "steps": 10**9,
        "validate_every": 500,
    } | overrides
    options = folder / "options.yaml"
    config = make_config(flags, file=options if options.is_file() else None)
    inits = [folder / "init.safetensors", folder / "init.pt"]
    init = next((path for path in inits if path.is_file()), None)
    resume = (out / CHECKPOINT).is_file()
    if resume:
        batch, micro_batch = _held_batch(out / CHECKPOINT)
        config = replace(config, batch=batch, micro_batch=micro_batch)
    done_minutes = _elapsed_s(out / CHECKPOINT) / 60 if resume else 0.0
    return replace(
        config, init=None if resume else init, resume=resume, minutes=done_minutes + minutes
    )


def _found(folder: Path, name: str) -> Path:
    """The folder or the archive of this name."""
    archive = folder / f"{name}.zip"
    return archive if archive.is_file() else folder / name


def _held_batch(path: Path) -> tuple[int, int]:
    """The batch that was found best at the first sprint: a resumed training keeps it."""
    held = torch.load(path, map_location="cpu", weights_only=True)["config"]
    return int(held["batch"]), int(held["micro_batch"])


def _elapsed_s(path: Path) -> float:
    held = torch.load(path, map_location="cpu", weights_only=True)
    return float(held["progress"]["elapsed_s"])


@click.command()
@click.option("--minutes", type=click.FloatRange(0.0, min_open=True), required=True)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("sprint"),
    show_default=True,
    help="Holds photos.zip, validation.zip, init.safetensors and options.yaml; gets out/.",
)
def main(minutes: float, folder: Path) -> None:
    """Train on one carried folder for so many minutes; go on from the newest state in it."""
    try:
        last = sprint(folder, minutes, click.echo)
    except FacemendError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"newest weights: {last}")


if __name__ == "__main__":
    main()
