"""Pairs that somebody made: degraded photos beside the sharp ones, by the same names."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from shared.errors import DatasetError
from worker.training.data.degradations import Image
from worker.training.data.photos import Photos, load_photos


def load_pairs(path: Path, sharp: Photos) -> tuple[Image, ...]:
    """Return the degraded photo of each sharp one, in their order and size; suffixes may differ.

    Raises DatasetError naming a photo that has no partner.
    """
    degraded = load_photos(path, sharp.size, least_share=0.0)
    by_stem = dict(zip(map(_stem, degraded.names), degraded.images, strict=True))
    wanted = [_stem(name) for name in sharp.names]
    if missing := [name for name in wanted if name not in by_stem]:
        raise DatasetError(f"{missing[0]} has no degraded partner in {path}")
    if extra := sorted(by_stem.keys() - set(wanted)):
        raise DatasetError(f"{extra[0]} in {path} has no sharp partner")
    return tuple(by_stem[name] for name in wanted)


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))
