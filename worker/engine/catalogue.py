"""The models we know: where their weights come from, what they are, and under which licence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

#: Weights that come with the package.
EMBEDDED_DIR = Path(__file__).parent / "models"

_GPEN = "https://public-vigen-video.oss-cn-shanghai.aliyuncs.com/robin/models"
_MODELSCOPE = (
    "https://modelscope.cn/models/iic/cv_gpen_image-portrait-enhancement-hires/resolve/master"
)
#: The authors of GPEN published no licence with the weights, and once said "academic and
#: non-commercial": whoever runs them has to decide.
GPEN_LICENCE = "gpen-unstated"
OWN_LICENCE = "own"  # of a file that the operator made or put there, and that names none
OPEN_LICENCES = frozenset(
    {"Apache-2.0", "MIT", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0", OWN_LICENCE}
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One model.

    ``sha256`` None: nobody published one; the first verified download is trusted and its hash
    recorded beside the file. ``url`` None: the file comes with the package, or is the operator's.
    ``template`` and sizes are None for detectors, and for files that tell them themselves.
    """

    name: str
    file: str
    licence: str
    kind: Literal["restorer", "detector"] = "restorer"
    url: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    template: str | None = None
    in_px: int | None = None
    out_px: int | None = None
    embedded: bool = False

    @property
    def licence_is_open(self) -> bool:
        return self.licence in OPEN_LICENCES

    def path(self, models_dir: Path) -> Path:
        """Where the file is, or would be."""
        return (EMBEDDED_DIR if self.embedded else models_dir) / self.file


def _gpen(name: str, size_px: int, url: str, file: str, **known: object) -> Entry:
    return Entry(
        name=name,
        file=file,
        licence=GPEN_LICENCE,
        url=url,
        template="gpen",
        in_px=size_px,
        out_px=size_px,
        **known,  # type: ignore[arg-type]  # bytes and sha256, where they are known
    )


STARTER = "facemend-starter"
DETECTOR = "retinaface-mobilenet0.25"
BETTER_DETECTOR = "retinaface-resnet50"

_ENTRIES = (
    Entry(
        STARTER,
        f"{STARTER}.safetensors",
        "Apache-2.0",
        sha256="8636f615e3b163927a4bbfac96e7a88ba7f8d58db98b0f32e6814de41b5ff9b0",
        in_px=256,
        out_px=256,
        embedded=True,
    ),
    _gpen("gpen-bfr-256", 256, f"{_GPEN}/GPEN-BFR-256.pth", "GPEN-BFR-256.pth"),
    _gpen(
        "gpen-bfr-512",
        512,
        f"{_GPEN}/GPEN-BFR-512.pth",
        "GPEN-BFR-512.pth",
        bytes=284_085_738,
        sha256="f1002c41add95b0decad69604d80455576f7187dd99ca16bd611bcfd44c10b51",
    ),
    _gpen("gpen-bfr-1024", 1024, f"{_MODELSCOPE}/pytorch_model.pt", "GPEN-BFR-1024.pt"),
    _gpen("gpen-bfr-2048", 2048, f"{_MODELSCOPE}/pytorch_model-2048.pt", "GPEN-BFR-2048.pt"),
    Entry(
        DETECTOR,
        f"{DETECTOR}.safetensors",
        "MIT",
        kind="detector",
        sha256="637f99d488728ea22dc2227dedc667f4ed957abc8e552ef7d5592d5203ae8b63",
        embedded=True,
    ),
    Entry(
        BETTER_DETECTOR,
        "detection_Resnet50_Final.pth",
        "MIT",
        kind="detector",
        url="https://github.com/xinntao/facexlib/releases/download/v0.1.0/"
        "detection_Resnet50_Final.pth",
        sha256="6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d",
    ),
)
CATALOGUE = {entry.name: entry for entry in _ENTRIES}
