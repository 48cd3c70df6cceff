"""Weights on this machine: find the file, check its hash, then, and only then, open it safely."""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from shared.errors import LicenceNotAccepted, ModelUnavailable, WeightsInvalid, WeightsMissing
from worker.imaging.geometry import TEMPLATES
from worker.weights.catalogue import CATALOGUE, OWN_LICENCE, Entry, Task

if TYPE_CHECKING:
    from torch import Tensor

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def find_entry(name: str, models_dir: Path) -> Entry:
    """The model of this name: of the catalogue, or the operator's own ``NAME.safetensors``.

    An own file says in its metadata which template its faces were aligned to, and its task where
    that is not to restore. Raises ModelUnavailable for a name that is neither, WeightsInvalid for
    a file that asks for what we do not do.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    path = models_dir / f"{name}.safetensors"
    if _NAME.fullmatch(name) and path.is_file():
        said = metadata(path)
        return Entry(
            name,
            path.name,
            said.get("licence", OWN_LICENCE),
            task=_task(said.get("task", "restore"), path),
            template=said.get("template"),
        )
    known = ", ".join(entry.name for entry in CATALOGUE.values() if entry.kind == "restorer")
    raise ModelUnavailable(f"there is no model {name!r}; known are {known}")


def _task(said: str, path: Path) -> Task:
    tasks: dict[str, Task] = {"restore": "restore", "colorize": "colorize"}
    if said not in tasks:
        raise WeightsInvalid(f"{path} names task {said!r}; known are {', '.join(tasks)}")
    return tasks[said]


def require_licence(entry: Entry, accepted: Collection[str]) -> None:
    """Raise LicenceNotAccepted unless the licence is open or the operator has accepted it."""
    if not entry.licence_is_open and entry.licence not in accepted:
        raise LicenceNotAccepted(
            f"the licence of {entry.name} is {entry.licence}, which is not an open one; if you may "
            f"use it, set FACEMEND_ACCEPTED_LICENCES={entry.licence}"
        )


def checked_path(entry: Entry, models_dir: Path) -> tuple[Path, str]:
    """The weights' file and its sha256, once that is what it should be.

    Raises WeightsMissing, naming the command that gets the file, or WeightsInvalid, naming the
    hash that was expected.
    """
    path = entry.path(models_dir)
    if not path.is_file():
        raise WeightsMissing(f"the weights of {entry.name} are not at {path}; {entry.cure}")
    return path, verify(entry, path)


def verify(entry: Entry, path: Path) -> str:
    """The file's sha256; a first one, where none was published, is recorded beside the file.

    Raises WeightsInvalid when the file is not the one expected.
    """
    expected, actual = expected_sha256(entry, path), file_sha256(path)
    if expected is None:
        record_sha256(entry, path, actual)
    elif actual != expected:
        raise WeightsInvalid(f"{path} has sha256 {actual}; {expected} is expected")
    return actual


def expected_sha256(entry: Entry, path: Path) -> str | None:
    """The published hash, else the one recorded at the first download, else None."""
    if entry.sha256:
        return entry.sha256
    record = _record_of(path)
    return record.read_text().split()[0] if record.is_file() else None


def file_sha256(path: Path) -> str:
    """Hash of a file in hex, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself; raises WeightsInvalid for another file."""
    try:
        with safe_open(path, framework="np") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise WeightsInvalid(f"{path} cannot be read as safetensors: {error!s:.200}") from None


def load_state(path: Path) -> dict[str, Tensor]:
    """Tensors on the CPU, from safetensors or a torch file that may hold nothing but data.

    Raises WeightsInvalid for a damaged file and for a pickle that wants to run something.
    """
    import torch  # noqa: PLC0415 - listing and downloading can do without
    from safetensors.torch import load_file  # noqa: PLC0415 - the same

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own words tell how to run what is inside
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        asks = f", it asks for {wanted[1]}" if wanted else ""
        raise WeightsInvalid(
            f"{path} is not a plain file of tensors{asks}: nothing in it was loaded or run"
        ) from None
    except Exception as error:  # noqa: BLE001 - unpicklers raise anything; all of it means this
        raise WeightsInvalid(f"{path} cannot be read as weights: {error!s:.200}") from None
    if not isinstance(state, dict):
        raise WeightsInvalid(f"{path} holds no state dict")
    return state


@contextlib.contextmanager
def of_file(path: Path) -> Iterator[None]:
    """Say, once, of which file the weights are that something is wrong with."""
    try:
        yield
    except WeightsInvalid as error:
        if str(path) in error.detail:
            raise
        raise WeightsInvalid(f"{path}: {error.detail}") from None


def template_of(entry: Entry, path: Path) -> str:
    """Name of the alignment template; raises WeightsInvalid when the file names none we know."""
    template = entry.template
    if template is None:
        template = metadata(path).get("template", "none")
    if template not in TEMPLATES:
        raise WeightsInvalid(
            f"{path} names template {template!r}; known are {', '.join(TEMPLATES)}"
        )
    return template


def record_sha256(entry: Entry, path: Path, sha256: str) -> None:
    """Write the hash beside the file, as sha256sum would; a read-only folder goes without."""
    if entry.url is None:
        return  # what comes with the package is in the catalogue; an own file may change at will
    with contextlib.suppress(OSError):
        _record_of(path).write_text(f"{sha256}  {path.name}\n")


def _record_of(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")
