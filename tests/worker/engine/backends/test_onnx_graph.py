"""The exported graph in each runtime, against the golden vectors and the torch form."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worker.engine.backends.conftest import CPU
from tests.worker.engine.gpen.test_networks import (
    CONFIGS,
    FINISHING,
    GOLDEN,
    SUPER_RESOLVING,
    golden_generator,
    golden_input,
)
from worker.engine.backends.backend import Backend
from worker.engine.backends.export import export
from worker.engine.backends.onnx_graph import graph_bytes
from worker.engine.backends.onnxruntime_backend import OnnxRuntimeBackend
from worker.engine.backends.openvino_backend import OpenVinoBackend
from worker.engine.backends.self_check import make_self_check, relative_error
from worker.engine.devices import choose_precision
from worker.engine.gpen.controls import GeneratorControls
from worker.engine.gpen.networks import Generator, GpenConfig

RUNTIMES: dict[str, tuple[str, Callable[..., Backend]]] = {
    "onnx": ("model.onnx", OnnxRuntimeBackend),
    "openvino": ("model.xml", OpenVinoBackend),
}
needs_bf16 = pytest.mark.skipif(
    choose_precision("auto", CPU) != "bf16", reason="this CPU has no bf16 arithmetic"
)


def exported(generator: Generator, form: str, folder: Path, precision: str = "fp32") -> Backend:
    name, opened = RUNTIMES[form]
    export(partial(graph_bytes, generator), make_self_check(generator), form, folder / name)
    return opened(folder / name, CPU, precision)


@pytest.mark.parametrize("form", RUNTIMES)
@pytest.mark.parametrize("name", ["tiny-32", "tiny-64", "GPEN-BFR-256"])
def test_float32_has_the_output_of_the_published_network(
    name: str, form: str, tmp_path: Path
) -> None:
    config = CONFIGS[name]
    backend = exported(golden_generator(config), form, tmp_path)
    images = golden_input(2 if name == "tiny-32" else 1, config.size).numpy()
    assert relative_error(backend.infer(images), GOLDEN[name]) < 1e-5
    assert (backend.in_px, backend.out_px) == (config.size, config.size)
    assert not backend.uses_seed


@needs_bf16
def test_openvino_in_bf16_is_near_the_output_of_the_published_network(tmp_path: Path) -> None:
    generator = golden_generator(CONFIGS["GPEN-BFR-256"])
    backend = exported(generator, "openvino", tmp_path, "bf16")
    error = relative_error(backend.infer(golden_input(1, 256).numpy()), GOLDEN["GPEN-BFR-256"])
    assert 1e-4 < error < 2e-2  # less would not be bf16


_EXPORTED = """
import sys
from pathlib import Path
from tests.worker.engine.gpen.test_networks import CONFIGS, golden_generator
from worker.engine.backends.export import export
from worker.engine.backends.onnx_graph import graph_bytes
from worker.engine.backends.self_check import make_self_check
generator = golden_generator(CONFIGS["tiny-32"])
export(lambda: graph_bytes(generator), make_self_check(generator), sys.argv[1], Path(sys.argv[2]))
"""
_SIGNALLED = """
import os, signal, sys
from pathlib import Path
import torch
from worker.engine.backends.openvino_backend import OpenVinoBackend
one, other = (OpenVinoBackend(Path(sys.argv[1]), torch.device("cpu"), "fp32") for _ in range(2))
del one
del other
signal.signal(signal.SIGTERM, lambda *_: print("heard"))
os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.parametrize("form", RUNTIMES)
def test_a_runtime_sends_no_telemetry(form: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    # A clean environment: they are silent where they find signs of a CI.
    own = {"HOME": str(home), "PATH": os.defpath, "PYTHONPATH": os.pathsep.join(sys.path)}
    file = tmp_path / RUNTIMES[form][0]
    subprocess.run([sys.executable, "-c", _EXPORTED, form, str(file)], env=own, check=True)
    assert list(home.iterdir()) == []  # no identity, and nothing that waits to be sent


def test_a_signal_handler_works_after_models_of_openvino_are_deleted(tmp_path: Path) -> None:
    generator = golden_generator(CONFIGS["tiny-32"])
    export(
        partial(graph_bytes, generator),
        make_self_check(generator),
        "openvino",
        tmp_path / "model.xml",
    )
    command = [sys.executable, "-c", _SIGNALLED, str(tmp_path / "model.xml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


@pytest.mark.parametrize("form", RUNTIMES)
def test_the_super_resolving_form_draws_the_noise_that_torch_draws(
    form: str, tmp_path: Path
) -> None:
    generator = golden_generator(SUPER_RESOLVING)
    backend = exported(generator, form, tmp_path)
    images = golden_input(2, 32)
    assert backend.uses_seed
    assert (backend.in_px, backend.out_px) == (32, 128)
    for seed in (0, 5):
        with torch.inference_mode():
            expected = generator(images, seed=seed).numpy()
        assert relative_error(backend.infer(images.numpy(), seed), expected) < 1e-5
    different = relative_error(backend.infer(images.numpy(), 1), expected)
    assert different > 1e-3


@pytest.mark.parametrize("form", RUNTIMES)
@pytest.mark.parametrize("config", [CONFIGS["tiny-32"], FINISHING])
def test_a_graph_has_the_pixels_of_torch(form: str, config: GpenConfig, tmp_path: Path) -> None:
    from worker.engine.backends.torch_backend import TorchBackend

    generator = golden_generator(config)
    backend = exported(generator, form, tmp_path)
    crops = list(np.random.default_rng(3).integers(0, 256, (3, 32, 32, 3), np.uint8))
    expected = TorchBackend(generator, CPU, "fp32").run(crops)
    for found, wanted in zip(backend.run(crops), expected, strict=True):
        assert found is not None
        assert wanted is not None
        assert found.dtype == np.uint8
        assert np.abs(found.astype(int) - wanted).max() <= 1


@pytest.mark.parametrize("form", RUNTIMES)
def test_an_output_does_not_change_at_the_next_call(form: str, tmp_path: Path) -> None:
    backend = exported(golden_generator(CONFIGS["tiny-32"]), form, tmp_path)
    images = golden_input(2, 32).numpy()
    first = backend.infer(images[:1])
    kept = first.copy()
    backend.infer(images[1:])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("form", RUNTIMES)
@pytest.mark.parametrize(
    "turned", [GeneratorControls(noise_scale=0.3), GeneratorControls(truncation=0.5)]
)
@pytest.mark.parametrize("config", [CONFIGS["tiny-32"], SUPER_RESOLVING])
def test_controls_have_the_same_effect_as_in_torch(
    form: str, turned: GeneratorControls, config: GpenConfig, tmp_path: Path
) -> None:
    generator = golden_generator(config)
    backend = exported(generator, form, tmp_path)
    images = golden_input(2, 32)
    with torch.inference_mode():
        expected = generator(images, controls=turned).numpy()
    assert relative_error(backend.infer(images.numpy(), controls=turned), expected) < 1e-5
    assert relative_error(backend.infer(images.numpy()), expected) > 1e-3


@pytest.mark.parametrize("form", RUNTIMES)
def test_a_graph_that_a_runtime_cannot_run_is_a_python_error(form: str, tmp_path: Path) -> None:
    backend = exported(golden_generator(CONFIGS["tiny-32"]), form, tmp_path)
    with pytest.raises(RuntimeError):
        backend.infer(golden_input(1, 64).numpy())
