"""The served file says what serving has to know, and can be read by another user."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors import safe_open

from worker.engine.gpen.networks import Generator, GpenConfig
from worker.training.checkpoint import read_generator, save_checkpoint
from worker.training.export import main


def test_a_checkpoint_becomes_a_file_that_names_itself(tmp_path: Path) -> None:
    generator = Generator(GpenConfig(32, 32, 2, 0.0625))
    save_checkpoint(tmp_path / "best.pt", {"g_ema": generator.state_dict(), "step": 1})
    out = tmp_path / "models" / "mine.safetensors"
    call = ["--weights", str(tmp_path / "best.pt"), "--out", str(out), "--template", "gpen"]
    assert main(call) == 0
    with safe_open(out, "pt") as file:
        metadata = file.metadata()
    assert (metadata["name"], metadata["size"], metadata["template"]) == ("mine", "32", "gpen")
    assert metadata["licence"] == "Apache-2.0"
    assert out.stat().st_mode & 0o777 == 0o644
    assert read_generator(out).config == generator.config


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["--weights", str(tmp_path / "absent.pt"), "--out", str(tmp_path / "a.safetensors")]
    assert main(call) == 2
    assert "export: no weights at" in capsys.readouterr().err
