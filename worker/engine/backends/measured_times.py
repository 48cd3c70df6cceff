"""Measured times: those that come with the package, and this machine's own, which go before."""

from __future__ import annotations

import json
import logging
import math
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

_log = logging.getLogger(__name__)
#: Written by ``make bench-engine``; see docs/benchmarks.md.
SHIPPED = Path(__file__).with_name("measured.json")
OWN_NAME = "measured.json"


@dataclass(frozen=True, slots=True)
class Figure:
    """``batch`` is the size of batch that was best, ``ms_per_face`` the time in such a batch.

    ``device`` is ``cpu``, ``cuda`` or ``mps``, and ``machine`` the name of the processor or card.
    """

    device: str
    machine: str
    size_px: int
    precision: str
    backend: str
    batch: int
    ms_per_face: float


def read_figures(folder: Path) -> list[Figure]:
    """Those of this machine, which lie in ``folder``, then those of the package."""
    return [*_read(folder / OWN_NAME), *_read(SHIPPED)]


def write_figures(file: Path, figures: Iterable[Figure]) -> None:
    """Replace those of the same device, machine and size in the file; the others stay."""
    new = list(figures)
    measured = {(each.device, each.machine, each.size_px) for each in new}
    old = _read(file)
    kept = [each for each in old if (each.device, each.machine, each.size_px) not in measured]
    lines = ",\n".join(f"  {json.dumps(asdict(each))}" for each in (*kept, *new))
    part = file.with_name(f".{file.name}.part")
    file.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(f"[\n{lines}\n]\n")
    part.replace(file)


def fastest_first(figures: list[Figure], device: torch.device, size_px: int) -> list[Figure]:
    """Of this kind of device, the same machine's if there are any, at the nearest size measured."""
    here = [each for each in figures if each.device == device.type]
    name = machine_name(device)
    here = [each for each in here if each.machine == name] or here
    nearest = min((_distance(each, size_px) for each in here), default=0.0)
    found = [each for each in here if _distance(each, size_px) == nearest]
    first = {(each.backend, each.precision): each for each in reversed(found)}
    return sorted(first.values(), key=lambda each: each.ms_per_face)


def machine_name(device: torch.device) -> str:
    """The processor's or card's own name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return str(torch.cpu.get_capabilities().get("cpu_name") or platform.machine())


def _distance(figure: Figure, size_px: int) -> float:
    return abs(math.log2(figure.size_px / size_px))


def _read(file: Path) -> list[Figure]:
    try:
        return [Figure(**row) for row in json.loads(file.read_text())]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        _log.warning("%s is not used: %s", file, error)
        return []
