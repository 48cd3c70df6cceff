from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from shared.errors import (
    EngineError,
    FacemendError,
    InputError,
    RequestError,
    SettingsInvalid,
    StackFailed,
    Unavailable,
)
from worker.cli import main
from worker.commands.exit_codes import exit_code_of


def commands(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield every command with its subcommands, as typed."""
    yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found
            yield from commands(found, (*words, name))


@pytest.mark.parametrize("words", [words for words in commands(main) if words], ids=" ".join)
def test_the_help_of_each_command_tells_its_exit_codes(words: tuple[str, ...]) -> None:
    text = CliRunner().invoke(main, [*words, "--help"]).stdout
    told = text.partition("Exit codes:")[2].partition("\n\n")[0]
    codes = {int(code) for code in re.findall(r"(?<![\d.])(\d{1,3})\s+[A-Za-z]", told)}
    assert {0, 2} <= codes <= {0, 1, 2, 3, 4, 130}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsInvalid, 2),
        (RequestError, 2),
        (EngineError, 3),
        (Unavailable, 4),
        (InputError, 1),
        (StackFailed, 1),
    ],
)
def test_each_kind_of_error_has_its_exit_code(error: type[FacemendError], code: int) -> None:
    assert exit_code_of(error("why")) == code


@pytest.mark.parametrize(
    ("words", "settings", "code"),
    [
        (["keys", "list"], {}, 4),
        (["keys", "list"], {"FACEMEND_API_KEY_PEPPER": ""}, 2),
        (["keys", "list", "--data", "no-stack"], {}, 1),
        (["keys", "lst"], {}, 2),
        (["rebuild"], {}, 4),
        (["rebuild"], {"FACEMEND_LEASE_S": "soon"}, 2),
        (["up", "--port", "0"], {}, 2),
    ],
    ids=str,
)
def test_commands_for_a_service_end_with_the_code_of_their_help(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    settings: dict[str, str],
    code: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    away = {
        "FACEMEND_REDIS_URL": "redis://127.0.0.1:9/0",
        "FACEMEND_S3_ENDPOINT_URL": "http://127.0.0.1:9",
        "FACEMEND_API_KEY_PEPPER": "pepper",
    }
    for name, value in (away | settings).items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    assert result.exit_code == code, result.output
