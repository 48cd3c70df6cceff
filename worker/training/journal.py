"""What a training tells: a line on the terminal with the time left, a CSV file, TensorBoard."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shared.errors import OptionUnavailable
from worker.training.parallel import Figures

#: Told of lines for a person.
Report = Callable[[str], None]


@dataclass
class Journal:
    """Writes to ``out/log.csv``: step, seconds, name of the figure, value."""

    out: Path
    report: Report
    tensorboard: bool = False
    _writer: Any = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.tensorboard:
            self._writer = _open_tensorboard(self.out / "tensorboard")

    def note(self, step: int, elapsed_s: float, figures: Figures, left_s: float | None) -> None:
        """Write the figures of one step; ``left_s`` is the estimate of the time left."""
        path = self.out / "log.csv"
        is_new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(("step", "elapsed_s", "figure", "value"))
            for name, value in figures.items():
                writer.writerow((step, f"{elapsed_s:.1f}", name, f"{value:.6g}"))
        if self._writer:
            for name, value in figures.items():
                self._writer.add_scalar(name, value, step)
        told = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        left = "" if left_s is None else f"  {duration(left_s)} left"
        self.report(f"step {step}  {told}{left}")

    def close(self) -> None:
        if self._writer:
            self._writer.close()


def read_log(path: Path) -> list[dict[str, float]]:
    """Return a record for each step of ``log.csv``, of a training that may have been resumed.

    Where a step was written twice, the later figures count.
    """
    steps: dict[int, dict[str, float]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            record = steps.setdefault(int(row["step"]), {"step": float(row["step"])})
            record[row["figure"]] = float(row["value"])
    return [steps[step] for step in sorted(steps)]


def duration(seconds: float) -> str:
    """Return ``1:02:03``, or ``2:03`` below an hour."""
    hours, rest = divmod(max(0, round(seconds)), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _open_tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra
    except ImportError:
        raise OptionUnavailable(
            "TensorBoard is not installed; run: pip install tensorboard"
        ) from None
    return SummaryWriter(str(folder))
