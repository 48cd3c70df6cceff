"""A sprint uses the machine, writes small files as it goes, and the next one goes on."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from safetensors import safe_open

from shared.errors import DatasetError
from worker.training import sprint as module
from worker.training.checkpoint import read_checkpoint, read_generator
from worker.training.config import TrainConfig
from worker.training.sprint import Exporter, best_batch, main, sprint
from worker.training.state import start

QUIET = lambda _line: None  # noqa: E731
OPTIONS = """
size: 32
narrow: 0.0625
channel-multiplier: 2
batch: 1
sample-rows: 0
precision: fp32
loaders: 1
"""


@pytest.fixture
def folder(photos: Path, tmp_path: Path) -> Path:
    carried = tmp_path / "carried"
    carried.mkdir()
    for name in ("photos", "validation"):
        shutil.make_archive(str(carried / name), "zip", photos)
    (carried / "options.yaml").write_text(OPTIONS)
    return carried


def test_a_sprint_reads_one_folder_and_writes_weights_that_load(folder: Path) -> None:
    said: list[str] = []
    last = sprint(folder, 0.02, said.append, every_s=0.0, largest_batch=2)
    assert read_generator(last).config.size == 32
    assert last.stat().st_size < 16e6
    steps = []
    for path in sorted((folder / "out").glob("sprint-*.safetensors")):
        with safe_open(path, "pt") as file:
            steps.append(int(file.metadata()["step"]))
    assert steps == sorted(steps)
    assert len(steps) > 1
    assert any("photos a second" in line for line in said)


def test_the_next_sprint_goes_on_from_the_newest_state(folder: Path) -> None:
    sprint(folder, 0.01, QUIET, largest_batch=1)
    first = read_checkpoint(folder / "out" / "checkpoint.pt")["progress"]
    sprint(folder, 0.02, QUIET, largest_batch=4)
    second = read_checkpoint(folder / "out" / "checkpoint.pt")["progress"]
    assert second["step"] > first["step"]
    assert second["elapsed_s"] > first["elapsed_s"]


def test_the_batch_grows_while_that_pays_and_memory_suffices(config: TrainConfig) -> None:
    def measure(config: TrainConfig) -> float:
        if config.batch > 16:
            raise MemoryError
        return 1.0 / config.batch

    assert best_batch(replace(config, batch=1), QUIET, measure=measure) == 16
    assert best_batch(replace(config, batch=1), QUIET, measure=lambda _: 1.0) == 1
    assert best_batch(replace(config, batch=1), QUIET, largest=4, measure=measure) == 4


def test_weights_are_written_when_they_are_due(config: TrainConfig) -> None:
    state, times = start(config), itertools.count(0.0, 25.0)
    exporter = Exporter(config, 60.0, QUIET, clock=lambda: next(times))
    config.out.mkdir()
    for _ in range(4):
        exporter(state)
    assert [path.name for path in config.out.glob("*.safetensors")] == ["sprint-001.safetensors"]
    assert (config.out / "checkpoint.pt").is_file()


def test_a_network_too_large_to_carry_is_refused(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 1000)
    with pytest.raises(Exception, match="make the network narrower"):
        Exporter(config, 60.0, QUIET).write(start(config))


def test_a_folder_without_photos_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no photos at"):
        sprint(tmp_path, 1.0, QUIET, batch=1)
    result = CliRunner().invoke(main, ["--minutes", "1", "--folder", str(tmp_path)])
    assert result.exit_code == 1
    assert "no photos at" in result.output
