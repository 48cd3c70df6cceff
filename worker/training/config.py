"""The options of a training: one frozen record, from which flags and YAML keys are derived.

A value comes from the first of: a flag, the YAML file, the preset, the default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from shared.errors import SettingsInvalid
from worker.engine.devices import choose_precision

#: ``paper``: rates of 100:10:1 for encoder, decoder and discriminator. ``constant``: the rates that
#: users of the published code report, never lowered.
PRESETS: dict[str, dict[str, Any]] = {
    "fidelity": {"edges": 0.2},
    "sharpen": {
        "learning_rate": 5e-4,
        "feature_matching": 1.0,
        "adversarial": 0.1,
        "identity": 0.1,
    },
    "paper": {
        "learning_rate": 2e-3,
        "decoder_rate": 0.1,
        "discriminator_rate": 0.01,
        "feature_matching": 0.02,
        "adversarial": 1.0,
        "schedule": "constant",
    },
    "constant": {
        "learning_rate": 0.0016,
        "discriminator_rate": 0.0018 / 0.0016,
        "feature_matching": 1.0,
        "adversarial": 1.0,
        "schedule": "constant",
    },
}
#: Options that may differ between a training and its resumption: they change no step's result.
FREE_ON_RESUME = frozenset(
    {
        *("photos", "validation", "pairs", "out", "init", "resume", "steps", "minutes"),
        *("stop_after", "threads", "loaders", "device", "log_every", "validate_every"),
        *("save_every", "save_minutes", "sample_rows", "compile", "tensorboard"),
    }
)
_POSITIVE = (
    *("steps", "batch", "micro_batch", "minutes", "penalty_every", "size", "narrow", "threads"),
    *("log_every", "validate_every", "save_every", "learning_rate"),
)
_CHOICES = {
    "schedule": ("cosine", "constant"),
    "precision": ("auto", "fp32", "bf16", "fp16"),
    "degradation": ("classic", "second-order", "old-photo", "mixed"),
}


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a training depends on."""

    photos: Path = field(metadata={"help": "folder or ZIP of aligned, square face photos"})
    validation: Path = field(metadata={"help": "the same, of other people"})
    out: Path = field(metadata={"help": "folder for checkpoints, log and samples"})
    pairs: Path | None = field(
        default=None, metadata={"help": "folder or ZIP of degraded photos, named as the sharp ones"}
    )
    init: Path | None = field(
        default=None, metadata={"help": "start from these weights; a smaller network is grown"}
    )
    resume: bool = _option(False, "go on from OUT/checkpoint.pt")
    size: int = _option(256, "pixels of a face, a power of two")
    channel_multiplier: int = _option(1, "width from 64 px upwards")
    narrow: float = _option(0.25, "width of everything; work grows with its square")
    batch: int = _option(8, "photos per step and process")
    micro_batch: int = _option(4, "photos of them computed at once; their gradients add up")
    threads: int = _option(1, "micro-batches computed side by side; on a CPU, its cores")
    loaders: int = _option(2, "threads that prepare photos ahead; 0: none")
    steps: int = _option(6000, "end after so many")
    minutes: float = _option(math.inf, "end after so much time, if that comes first")
    stop_after: int = _option(0, "stop at this step, to be resumed; 0: do not")
    learning_rate: float = _option(2e-3, "Adam's, of the encoder, at its peak")
    decoder_rate: float = _option(1.0, "the decoder's, as a multiple of that; 0 freezes it")
    discriminator_rate: float = _option(1.0, "the discriminator's, as a multiple of that")
    schedule: str = _option("cosine", "how the rates change over the steps")
    final_rate: float = _option(0.05, "share of the peak that is left at the end of a cosine")
    warmup_steps: int = _option(50, "steps in which the rates grow to their peak")
    edges: float = _option(0.2, "weight of the edge loss (the pixel loss has 1)")
    feature_matching: float = _option(0.0, "weight of feature matching; adds a discriminator")
    adversarial: float = _option(0.0, "weight of the adversarial loss; adds a discriminator")
    identity: float = _option(0.0, "weight of the distance of dlib's face embeddings")
    perceptual: float = _option(0.0, "weight of the distance in a network's features")
    perceptual_weights: Path | None = field(
        default=None, metadata={"help": "weights of torchvision's mobilenet_v2"}
    )
    discriminator_narrow: float = _option(0.25, "width of the discriminator")
    penalty: float = _option(1.0, "R1 penalty of the discriminator")
    penalty_every: int = _option(16, "steps between two penalties")
    ema_decay: float = _option(0.998, "decay of the averaged weights, which are what is kept")
    degradation: str = _option("classic", "how photos are degraded")
    seed: int = _option(1, "fixes weights, photos and degradations")
    precision: str = _option("auto", "auto: bf16 where the device computes in it, else fp32")
    device: str = _option("cpu", "where to train: cpu, cuda, cuda:1")
    channels_last: bool = _option(False, "memory layout that GPUs and some CPUs prefer")
    compile: bool = _option(False, "compile the generator with torch.compile")
    log_every: int = _option(20, "steps between two lines of the log")
    validate_every: int = _option(200, "steps between two validations")
    save_every: int = _option(10_000, "steps between two checkpoints that are kept")
    save_minutes: float = _option(3.0, "minutes between two writes of checkpoint.pt")
    sample_rows: int = _option(6, "photos on a sample sheet; 0: no sheets")
    tensorboard: bool = _option(False, "write TensorBoard events too")

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise SettingsInvalid(f"{name} must be above zero, not {getattr(self, name)}")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise SettingsInvalid(f"{name} must be one of {', '.join(allowed)}")
        if self.resume and self.init:
            raise SettingsInvalid("give resume or init, not both")
        if self.perceptual and not self.perceptual_weights:
            raise SettingsInvalid("perceptual needs perceptual_weights")
        if self.precision == "fp16" and torch.device(self.device).type == "cpu":
            raise SettingsInvalid("fp16 trains on a GPU only; give fp32 or auto")

    @property
    def has_discriminator(self) -> bool:
        return bool(self.feature_matching or self.adversarial)

    @property
    def dtype(self) -> torch.dtype | None:
        """Half precision to compute in, or None for float32."""
        precision = choose_precision(self.precision, torch.device(self.device))
        return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]

    def autocast(self) -> torch.autocast:
        """Return the context that networks run in."""
        kind, dtype = torch.device(self.device).type, self.dtype
        return torch.autocast(kind, dtype or torch.bfloat16, enabled=dtype is not None)

    def plain(self) -> dict[str, Any]:
        """Return the options as a checkpoint or a YAML file holds them."""
        kinds = (str, int, float, bool)
        items = asdict(self).items()
        return {k: v if v is None or isinstance(v, kinds) else str(v) for k, v in items}


def make_config(
    flags: Mapping[str, Any], *, file: Path | None = None, preset: str | None = None
) -> TrainConfig:
    """Return the record of flags, YAML file and preset.

    Raises SettingsInvalid for a file that cannot be read, an unknown key, a value of the wrong
    type, and a path that is missing.
    """
    if preset is not None and preset not in PRESETS:
        raise SettingsInvalid(f"there is no preset {preset!r}; known are {', '.join(PRESETS)}")
    values: dict[str, Any] = dict(PRESETS[preset]) if preset else {}
    if file is not None:
        values |= _read_yaml(file)
    values |= {key: value for key, value in flags.items() if value is not None}
    known = {each.name: each for each in fields(TrainConfig)}
    if unknown := sorted(values.keys() - known.keys()):
        raise SettingsInvalid(f"a training has no option {unknown[0]!r}")
    required = [name for name, each in known.items() if _is_required(each)]
    if missing := [name for name in required if name not in values]:
        raise SettingsInvalid(f"{missing[0]} is missing: give --{missing[0]} or put it in the file")
    return TrainConfig(**{name: _converted(known[name], value) for name, value in values.items()})


def choices_of(name: str) -> tuple[str, ...] | None:
    """Return the values that an option may have, if they are few."""
    return _CHOICES.get(name)


def type_of(option: Field[Any]) -> type:
    """Return bool, int, float, str or Path."""
    kinds: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str}
    return kinds.get(str(option.type), Path)


def _is_required(option: Field[Any]) -> bool:
    return option.default is MISSING


def _converted(option: Field[Any], value: Any) -> Any:
    kind = type_of(option)
    if value is None:
        if option.default is None:
            return None
        raise SettingsInvalid(f"{option.name} needs a value")
    if kind is bool or isinstance(value, bool):
        if kind is bool and isinstance(value, bool):
            return value
        raise SettingsInvalid(f"{option.name} cannot be {value!r}")
    try:
        converted = kind(value)
    except (TypeError, ValueError):
        raise SettingsInvalid(f"{option.name} cannot be {value!r}") from None
    if kind is int and converted != float(value):
        raise SettingsInvalid(f"{option.name} must be a whole number, not {value!r}")
    return converted


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml  # noqa: PLC0415 - of the extra ``training``; flags can do without

    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsInvalid(f"{path} cannot be read as YAML: {error}") from None
    if not isinstance(read, dict):
        raise SettingsInvalid(f"{path} must hold options by name")
    return {str(key).replace("-", "_"): value for key, value in read.items()}
