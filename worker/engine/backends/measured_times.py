"""The measured times of backends: this machine's own, and those in the package.

Backend ``auto`` chooses by them. This machine's own times have precedence.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from shared.atomic_file import replaced_atomically
from worker.engine.devices import Device, cpu_name

_log = logging.getLogger(__name__)
#: The package's own times; ``make bench-engine`` writes them, see docs/benchmarks.md.
SHIPPED = Path(__file__).with_name("measured_times.json")
#: Name of the file with this machine's times, in the folder of the artifact cache.
OWN_NAME = "measured.json"


@dataclass(frozen=True, slots=True)
class MeasuredTime:
    """The time of one backend in one precision.

    ``device`` is ``cpu``, ``cuda`` or ``mps``; ``machine`` names the processor or the card.
    ``size_px`` is the side of the network's input. ``batch`` is the best batch size, and
    ``ms_per_face`` the milliseconds for one face in such a batch.
    """

    device: str
    machine: str
    size_px: int
    precision: str
    backend: str
    batch: int
    ms_per_face: float


def read_measured_times(folder: Path) -> list[MeasuredTime]:
    """Return this machine's times, which are in ``folder``, then those of the package."""
    return [*_read(folder / OWN_NAME), *_read(SHIPPED)]


def write_measured_times(file: Path, times: Iterable[MeasuredTime]) -> None:
    """Replace the times of the same device, machine and size in the file; the others stay.

    Raises OSError.
    """
    new = list(times)
    measured = {(each.device, each.machine, each.size_px) for each in new}
    old = _read(file)
    kept = [each for each in old if (each.device, each.machine, each.size_px) not in measured]
    lines = ",\n".join(f"  {json.dumps(asdict(each))}" for each in (*kept, *new))
    with replaced_atomically(file) as unfinished:
        unfinished.write_text(f"[\n{lines}\n]\n")


def fastest_first(times: list[MeasuredTime], device: Device, size_px: int) -> list[MeasuredTime]:
    """Return one time for each backend and precision, fastest first.

    Only times of this kind of device count: of this machine if there are any, and of the nearest
    size that was measured.
    """
    of_device = [each for each in times if each.device == device.type]
    name = machine_name(device)
    of_device = [each for each in of_device if each.machine == name] or of_device
    nearest = min((_distance(each, size_px) for each in of_device), default=0.0)
    found = [each for each in of_device if _distance(each, size_px) == nearest]
    first = {(each.backend, each.precision): each for each in reversed(found)}
    return sorted(first.values(), key=lambda each: each.ms_per_face)


def machine_name(device: Device) -> str:
    """Return the name of the processor or the card."""
    if device.type == "cuda":
        import torch  # noqa: PLC0415 - takes two seconds

        return torch.cuda.get_device_name(str(device))
    return cpu_name()


def _distance(time: MeasuredTime, size_px: int) -> float:
    return abs(math.log2(time.size_px / size_px))


def _read(file: Path) -> list[MeasuredTime]:
    try:
        return [MeasuredTime(**row) for row in json.loads(file.read_text())]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        _log.warning("%s cannot be read and is ignored: %s", file, error)
        return []
