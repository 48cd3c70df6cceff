"""Two processes started by torchrun hold the same weights, and one of them writes the files."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch
import yaml

from worker.training.checkpoint import read_checkpoint
from worker.training.config import TrainConfig
from worker.training.distributed import Processes
from worker.training.journal import read_log
from worker.training.train import train

ROOT = Path(__file__).parents[3]


def test_one_process_has_nobody_to_talk_to() -> None:
    alone = Processes()
    assert alone.is_first
    assert alone.any(True)
    assert not alone.any(False)


def test_two_processes_train_one_network(config: TrainConfig, tmp_path: Path) -> None:
    """Each of two draws its own two photos: the mean gradient is none that one of them has."""
    both = replace(config, steps=3, feature_matching=0.1, log_every=1, penalty_every=2)
    options = tmp_path / "run.yaml"
    options.write_text(yaml.safe_dump({k: v for k, v in both.plain().items() if v is not None}))
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("-m", "worker.cli", "train", "--config", str(options)),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    held = read_checkpoint(both.out / "checkpoint.pt")
    assert held["progress"]["step"] == 3
    assert [line["step"] for line in read_log(both.out / "log.csv")] == [0, 1, 2, 3]
    alone = replace(both, out=tmp_path / "alone")
    train(alone, lambda _line: None)
    one = read_checkpoint(alone.out / "checkpoint.pt")
    assert not all(torch.equal(one["g"][key], held["g"][key]) for key in one["g"])
