from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from worker.cli import LazyGroup, main

HEAVY = ["torch", "torchvision", "facexlib", "cv2", "numpy", "PIL", "rich", "boto3"]


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(answer.stdout.splitlines()[-1].split())


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    assert modules_after("import worker.cli").isdisjoint(HEAVY)


@pytest.mark.parametrize("module", ["restore", "models"])
def test_help_and_mistakes_do_not_wait_for_torch(module: str) -> None:
    assert "torch" not in modules_after(f"import worker.commands.{module}")


def test_the_engine_package_and_imaging_do_not_load_torch() -> None:
    assert "torch" not in modules_after("import worker.engine, worker.imaging.decode")


@pytest.mark.parametrize("name", LazyGroup.commands_by_name)
def test_every_command_that_is_listed_can_be_loaded_and_helps(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert isinstance(command, click.Command)
    answer = CliRunner().invoke(main, [name, "--help"], catch_exceptions=False)
    assert answer.exit_code == 0
    assert name in answer.output


def test_help_lists_every_command() -> None:
    answer = CliRunner().invoke(main, ["--help"], catch_exceptions=False)
    assert answer.exit_code == 0
    for name, (_, line) in LazyGroup.commands_by_name.items():
        assert name in answer.output
        assert line in answer.output
    assert "torch" not in answer.output


def test_an_unknown_command_is_a_usage_error() -> None:
    answer = CliRunner().invoke(main, ["mend"], catch_exceptions=False)
    assert answer.exit_code == 2
    assert "mend" in answer.output


def test_the_version_is_shown() -> None:
    answer = CliRunner().invoke(main, ["--version"], catch_exceptions=False)
    assert answer.exit_code == 0
    assert answer.output.startswith("facemend")
