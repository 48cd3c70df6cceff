"""The sums of shadow runs: a new model beside the served one, on the same faces of live jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from shared.jobs.record import to_json
from shared.redis.client import connect
from shared.redis.scripts import Scripts
from shared.settings import Settings

#: Sums that did not grow for 30 days are removed.
KEPT_S = 2_592_000
_FAILED = "failed:"


@dataclass(frozen=True, slots=True)
class ModelPair:
    """The model that runs in the shadow, and the served one whose jobs it repeats."""

    new: str
    new_sha256: str
    old: str
    old_sha256: str


@dataclass(slots=True)
class ShadowFigures:
    """Sums over jobs and faces, so each of them only grows.

    ``faces``: those that were to be restored. A *kept* one stays as it was, because it is sharp or
    its identity would be lost. ``compared``: faces that at least one model changed; the rest is
    about them. ``sharpness``: gradient energy over that of the input. ``identity``: similarity to
    the input, of the ``identified`` faces. ``…_squares``: squared differences of the two models.
    ``sharper``, ``nearer``: faces in which the model wins. ``squared_error``: mean squared
    difference of the two results, in 8-bit levels. ``ms``: milliseconds of the network.
    """

    jobs: float = 0
    faces: float = 0
    old_restored: float = 0
    new_restored: float = 0
    old_kept: float = 0
    new_kept: float = 0
    old_failed: float = 0
    new_failed: float = 0
    old_ms: float = 0
    new_ms: float = 0
    compared: float = 0
    old_sharpness: float = 0
    new_sharpness: float = 0
    sharpness_squares: float = 0
    old_sharper: float = 0
    new_sharper: float = 0
    identified: float = 0
    old_identity: float = 0
    new_identity: float = 0
    identity_squares: float = 0
    old_nearer: float = 0
    new_nearer: float = 0
    squared_error: float = 0


_FIGURES = frozenset(each.name for each in fields(ShadowFigures))


@dataclass(frozen=True, slots=True)
class ShadowRecord:
    """What is summed up about a pair: ``dropped`` jobs, and failed ones by their reason."""

    pair: ModelPair
    figures: ShadowFigures
    dropped: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)


class ShadowSums:
    """Thread-safe. Every method raises Unavailable if Redis cannot serve."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """Build one with a client of its own. It connects at the first call."""
        return cls(Scripts(connect(settings)))

    def add(self, pair: ModelPair, figures: ShadowFigures) -> None:
        """Add a job that was compared."""
        self._add(pair, {name: value for name, value in asdict(figures).items() if value})

    def add_dropped(self, pair: ModelPair) -> None:
        """Count a job for which there was no room."""
        self._add(pair, {"dropped": 1})

    def add_failed(self, pair: ModelPair, reason: str) -> None:
        """Count a job whose shadow run failed."""
        self._add(pair, {_FAILED + reason: 1})

    def latest(self, new: str, old: str) -> ShadowRecord | None:
        """Return the sums of the files that were compared last; None if there are none."""
        found = self._scripts.run("latest_shadow", new=new, old=old)
        if found is None:
            return None
        files, flat = found
        new_sha256, _, old_sha256 = files.partition(":")
        sums = dict(zip(flat[::2], map(float, flat[1::2]), strict=True))
        return ShadowRecord(
            ModelPair(new, new_sha256, old, old_sha256),
            ShadowFigures(**{name: value for name, value in sums.items() if name in _FIGURES}),
            dropped=round(sums.get("dropped", 0)),
            failed={
                name.removeprefix(_FAILED): round(value)
                for name, value in sorted(sums.items())
                if name.startswith(_FAILED)
            },
        )

    def reset(self, new: str, old: str) -> None:
        """Remove the sums of a pair, whatever its files."""
        self._scripts.run("reset_shadow", new=new, old=old)

    def _add(self, pair: ModelPair, figures: Mapping[str, Any]) -> None:
        self._scripts.run(
            "add_shadow",
            new=pair.new,
            old=pair.old,
            files=f"{pair.new_sha256}:{pair.old_sha256}",
            figures=to_json(figures),
            ttl_s=KEPT_S,
        )
