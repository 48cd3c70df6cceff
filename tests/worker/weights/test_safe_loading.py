"""Every wrong file of weights is refused with an error that names the file and the key."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from shared.errors import WeightsInvalid
from tests.worker.engine.small_models import save_model
from worker.engine import load_restorer
from worker.engine.faces.retinaface import build_network
from worker.engine.gpen.networks import Discriminator, GpenConfig
from worker.weights.catalogue import CATALOGUE, DETECTOR
from worker.weights.safe_loading import load_state

TINY = GpenConfig(32, 32, 1, 0.125)
State = dict[str, Tensor]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path, "own", TINY)
    return tmp_path


def load(folder: Path) -> None:
    load_restorer("own", models_dir=folder, device="cpu", precision="fp32").close()


def without(key: str) -> Callable[[State], State]:
    return lambda state: {name: tensor for name, tensor in state.items() if name != key}


def with_(key: str, tensor: Tensor) -> Callable[[State], State]:
    return lambda state: state | {key: tensor}


def discriminator(_: State) -> State:
    return {key: value.clone() for key, value in Discriminator(TINY).state_dict().items()}


def detector(_: State) -> State:
    return load_file(CATALOGUE[DETECTOR].path(Path()))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without("final_linear.0.bias"), "missing: final_linear.0.bias"),
        (without("generator.convs.0.conv.weight"), "missing: generator.convs.0.conv.weight"),
        (with_("generator.more.weight", torch.zeros(1)), "unknown: generator.more.weight"),
        (with_("ecd0.0.1.bias", torch.zeros(3)), "of the wrong shape or type: ecd0.0.1.bias"),
        (with_("ecd0.0.1.bias", torch.zeros(64, dtype=torch.int64)), "ecd0.0.1.bias"),
        (discriminator, "not GPEN's"),
        (detector, "not GPEN's"),
    ],
)
def test_the_error_names_the_file_and_the_key(
    folder: Path, change: Callable[[State], State], says: str
) -> None:
    path = folder / "own.safetensors"
    save_file(change(load_file(path)), path, metadata={"template": "ffhq"})
    with pytest.raises(WeightsInvalid) as refused:
        load(folder)
    assert says in refused.value.detail
    assert refused.value.detail.count(str(path)) == 1


def test_the_error_for_another_architecture_names_the_key(folder: Path) -> None:
    state = load_state(folder / "own.safetensors")
    with pytest.raises(WeightsInvalid, match=rf"{DETECTOR}[^\0]*Missing key[^\0]*body"):
        build_network(DETECTOR, state, torch.device("cpu"))


class Wants:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("new_form", [True, False])
@pytest.mark.parametrize(
    ("function", "name"), [(os.system, "posix.system"), (eval, "eval"), (os.mkdir, "posix.mkdir")]
)
def test_a_pickle_with_code_is_refused_and_not_run(
    tmp_path: Path, function: Callable[..., Any], name: str, new_form: bool
) -> None:
    made, path = tmp_path / "made-by-a-pickle", tmp_path / "model.pth"
    calls = {os.system: f"mkdir {made}", eval: f"__import__('os').mkdir({str(made)!r})"}
    code = Wants(function, calls.get(function, str(made)))
    torch.save({"w": code}, path, _use_new_zipfile_serialization=new_form)
    with pytest.raises(WeightsInvalid) as refused:
        load_state(path)
    assert f"{path} is not a plain file of tensors, it asks for {name}:" in refused.value.detail
    assert "weights_only" not in refused.value.detail, "that would be advice on how to run it"
    assert not made.exists()


def test_an_unsafe_load_would_have_run_the_same_pickle(tmp_path: Path) -> None:
    """Otherwise the test above would prove nothing."""
    made, path = tmp_path / "made-by-a-pickle", tmp_path / "model.pth"
    torch.save({"w": Wants(os.mkdir, str(made))}, path)
    torch.load(path, weights_only=False)
    assert made.is_dir()


def damaged(data: bytes, seed: int) -> Iterator[bytes]:
    """A cut file, then files with up to ten bytes changed, half of them in the header."""
    rng = random.Random(seed)
    for share in (0, 0.1, 0.5, 0.99):
        yield data[: int(len(data) * share)]
    for _ in range(60):
        changed = bytearray(data)
        for _ in range(rng.randint(1, 10)):
            limit = len(data) if rng.random() < 0.5 else min(len(data), 600)
            changed[rng.randrange(limit)] = rng.randrange(256)
        yield bytes(changed)


@pytest.mark.parametrize("kind", ["safetensors", "pth", "old.pth"])
@pytest.mark.filterwarnings("ignore")  # torch remarks on some of these files
def test_a_damaged_file_is_read_or_refused_and_nothing_else(tmp_path: Path, kind: str) -> None:
    state = {"a.weight": torch.ones(4, 4), "b": torch.ones(3)}
    whole, path = tmp_path / f"whole.{kind}", tmp_path / f"damaged.{kind}"
    if kind == "safetensors":
        save_file(state, whole)
    else:
        torch.save(state, whole, _use_new_zipfile_serialization=kind == "pth")
    refused = []
    for data in damaged(whole.read_bytes(), seed=5):
        path.write_bytes(data)
        try:
            load_state(path)
        except WeightsInvalid as error:
            refused.append(error.detail)
    assert len(refused) > 10
    assert all(detail.startswith(str(path)) for detail in refused)
