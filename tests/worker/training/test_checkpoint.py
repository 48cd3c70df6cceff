"""Weights on disk come back whole, and broken files are refused with their name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from shared.errors import WeightsInvalid
from worker.engine.gpen.networks import Generator, GpenConfig
from worker.training.checkpoint import (
    export_generator,
    read_checkpoint,
    read_generator,
    save_checkpoint,
)


@pytest.fixture
def generator() -> Generator:
    return Generator(GpenConfig(32, 32, 2, 0.0625))


def test_an_exported_generator_comes_back_in_float32(tmp_path: Path, generator: Generator) -> None:
    path = tmp_path / "models" / "some.safetensors"
    export_generator(generator, path, {"name": "some", "size": "32"})
    loaded = read_generator(path)
    photos = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(loaded(photos), generator(photos), atol=0.02, rtol=0.02)
    assert {each.dtype for each in loaded.parameters()} == {torch.float32}
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"name": "some", "size": "32"}
        assert file.get_tensor("final_linear.0.bias").dtype == torch.float16
    assert [each.name for each in path.parent.iterdir()] == ["some.safetensors"]


def test_a_checkpoint_yields_its_averaged_generator(tmp_path: Path, generator: Generator) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"g_ema": generator.state_dict(), "g": {}, "step": 3})
    assert read_checkpoint(path)["step"] == 3
    assert torch.equal(read_generator(path).generator.input.input, generator.generator.input.input)


def test_a_diverged_training_is_not_exported(tmp_path: Path, generator: Generator) -> None:
    with torch.no_grad():
        generator.get_parameter("final_linear.0.bias").fill_(1e9)
    with pytest.raises(WeightsInvalid, match=r"final_linear\.0\.bias"):
        export_generator(generator, tmp_path / "model.safetensors", {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["absent.pt", "broken.pt", "broken.safetensors"])
def test_files_that_cannot_be_read_are_refused_by_name(tmp_path: Path, name: str) -> None:
    if not name.startswith("absent"):
        (tmp_path / name).write_bytes(b"no weights here")
    with pytest.raises(WeightsInvalid, match=name):
        read_checkpoint(tmp_path / name)


class _Dangerous:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("must-not-exist"),)


def test_a_file_that_wants_to_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"g_ema": _Dangerous()}, path)
    with pytest.raises(WeightsInvalid, match="evil"):
        read_checkpoint(path)
    assert not Path("must-not-exist").exists()
