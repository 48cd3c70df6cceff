"""Models that the operator added: for each, its weights and an entry ``NAME.json`` beside them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError

from shared.atomic_file import replaced_atomically
from shared.errors import ModelUnavailable, WeightsInvalid
from worker.weights.model_entry import Channels, ModelEntry, ValueRange

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

_Px = Annotated[int, Field(ge=16, le=4096)]


class _Added(BaseModel):
    """The fields of ``NAME.json``: those of `ModelEntry` that an operator states."""

    model_config = ConfigDict(extra="forbid")

    file: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    licence: Annotated[str, Field(min_length=1, max_length=100)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: int
    good_at: str


class _AddedRestorer(_Added):
    kind: Literal["restorer"] = "restorer"  # earlier versions wrote none
    template: Literal["ffhq", "gpen", "arcface"]
    in_px: _Px
    out_px: _Px
    format: Literal["onnx", "spandrel"]
    value_range: ValueRange
    channels: Channels


class _AddedUpscaler(_Added):
    kind: Literal["upscaler"]
    format: Literal["spandrel"]
    scale: Literal[2, 4]


def _kind(entry: Any) -> str:
    return str(entry.get("kind", "restorer")) if isinstance(entry, dict) else ""


_ENTRY: TypeAdapter[_AddedRestorer | _AddedUpscaler] = TypeAdapter(
    Annotated[
        Annotated[_AddedRestorer, Tag("restorer")] | Annotated[_AddedUpscaler, Tag("upscaler")],
        Discriminator(_kind),
    ]
)


def find_added(name: str, models_dir: Path) -> ModelEntry | None:
    """Return the added model of this name, if there is one. Raises WeightsInvalid."""
    path = models_dir / f"{name}.json"
    if not NAME.fullmatch(name) or not path.is_file():
        return None
    try:
        entry = _ENTRY.validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise WeightsInvalid(f"{path} is not the entry of a model: {error!s:.300}") from None
    return ModelEntry(name=name, **entry.model_dump())


def added_entries(models_dir: Path) -> Iterator[ModelEntry]:
    """Yield each added model by name. Raises WeightsInvalid."""
    for path in sorted(models_dir.glob("*.json")):
        if entry := find_added(path.stem, models_dir):
            yield entry


def keep(entry: ModelEntry, weights: Path, models_dir: Path) -> ModelEntry:
    """Copy ``weights`` into ``models_dir``, write the entry beside them and return it.

    Raises ModelUnavailable if there is such a file already, or if the folder cannot be written.
    """
    kept = replace(entry, file=f"{entry.name}{weights.suffix}")
    target, about = kept.path(models_dir), models_dir / f"{entry.name}.json"
    for path in (target, about):
        if path.exists() and not path.samefile(weights):
            raise ModelUnavailable(f"{path} exists: choose another --name, or remove it first")
    stated = _AddedUpscaler if entry.kind == "upscaler" else _AddedRestorer
    fields = {key: value for key, value in asdict(kept).items() if key in stated.model_fields}
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            with replaced_atomically(target) as unfinished:
                shutil.copyfile(weights, unfinished)
        with replaced_atomically(about) as unfinished:
            unfinished.write_text(json.dumps(fields, indent=2) + "\n")
    except OSError as error:
        raise ModelUnavailable(f"{models_dir} cannot be written: {error.strerror}") from None
    return kept
