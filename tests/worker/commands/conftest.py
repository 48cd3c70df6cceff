"""Runs the command line in this process, with a small model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from tests.worker.engine.conftest import save_tiny_model
from worker.cli import main

Facemend = Callable[..., Result]
BLANK = np.full((64, 64, 3), 90, np.uint8)  # no face in it


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-models")
    save_tiny_model(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path, tiny_models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; ``tiny`` is the default model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACEMEND_MODELS_DIR", str(tiny_models))
    monkeypatch.setenv("FACEMEND_DEFAULT_MODEL", "tiny")
    monkeypatch.setenv("FACEMEND_PRECISION", "fp32")
    return tmp_path


@pytest.fixture
def facemend(folder: Path) -> Facemend:
    """Run ``facemend ARGUMENTS…``; an exception that is not an exit fails the test."""

    def run(*arguments: object) -> Result:
        words = [str(argument) for argument in arguments]
        return CliRunner().invoke(main, words, catch_exceptions=False)

    return run


def put(folder: Path, name: str, data: bytes) -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def only_line(text: str) -> str:
    (line,) = text.splitlines()
    return line
