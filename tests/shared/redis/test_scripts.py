"""A script gets the common functions that it uses, and its arguments by name."""

from __future__ import annotations

import ast
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from shared.redis import scripts as scripts_module
from shared.redis.scripts import (
    INCLUDES,
    Scripts,
    declared_arguments,
    includes,
    load_scripts,
    with_includes,
)

SHARED = Path(str(resources.files("shared")))
COMMON = """-- About all of them.
local WORD = 'high'

-- Says it.
local function say()
  return WORD
end

local function shout()
  return string.upper(say()) .. '!'
end

local function sing()
  return 'la'
end
"""


def test_a_script_gets_what_it_uses_and_what_that_uses() -> None:
    made = with_includes(COMMON, "return shout()")
    assert "local function shout" in made
    assert "local function say" in made
    assert "local WORD" in made
    assert made.endswith("return shout()")


def test_a_script_gets_nothing_else() -> None:
    assert "sing" not in with_includes(COMMON, "return shout()")
    assert with_includes(COMMON, "return 1") == "return 1"


def test_the_order_of_the_definitions_stays() -> None:
    made = with_includes(COMMON, "return {sing(), shout()}")
    places = [made.index(f"function {name}(") for name in ("say", "shout", "sing")]
    assert places == sorted(places)


def test_a_name_in_a_comment_or_a_string_does_not_count() -> None:
    script = "-- Redis' own sing\nreturn 'sing'"
    assert with_includes(COMMON, script) == script


def test_a_name_directly_after_two_dots_counts() -> None:
    assert "local function sing" in with_includes(COMMON, "return 'x'..sing()")


SCRIPTS = {
    path.stem: path.read_text("utf-8")
    for path in (SHARED / "lua").rglob("*.lua")
    if path.stem not in INCLUDES
}


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_no_script_contains_all_includes(name: str) -> None:
    made = load_scripts()[name].text
    assert made.endswith(SCRIPTS[name])
    assert len(made) < len(includes()) + len(SCRIPTS[name])


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_a_script_says_what_it_does_and_returns(name: str) -> None:
    assert SCRIPTS[name].startswith("-- ")
    assert "\n-- Returns: " in SCRIPTS[name]
    assert "ARGV" not in SCRIPTS[name]


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_no_argument_hides_a_common_function(name: str) -> None:
    arguments = declared_arguments(name, SCRIPTS[name])
    assert not [each for each in arguments if f"local function {each}(" in includes()]


# --- arguments ------------------------------------------------------------------------------


RUN = ("_scripts.run", "_scripts.run_replicated")


def calls() -> list[tuple[str, str, set[str]]]:
    """Each call of a script in ``shared``: where, its name and the names of its arguments."""
    found = []
    for path in SHARED.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(RUN):
                script, *_ = node.args
                assert isinstance(script, ast.Constant)
                names = {str(keyword.arg) for keyword in node.keywords}
                found.append((f"{path.name}:{node.lineno}", str(script.value), names))
    return found


@pytest.mark.parametrize(("where", "name", "arguments"), calls())
def test_a_call_passes_the_arguments_that_its_script_declares(
    where: str, name: str, arguments: set[str]
) -> None:
    assert arguments == {*declared_arguments(name, SCRIPTS[name])}, where


def test_every_script_is_called() -> None:
    assert {name for _, name, _ in calls()} == {*SCRIPTS}


ECHO = """-- Returns what it gets.
--
-- Arguments:
--   word: text        a word
--     with a second line
--   more: text?
--   limit: number
--   delay_s: number?
--   sure: flag
--   ids: texts
-- Returns: a list
local answer = sure and 'sure' or 'unsure'
return {word, more or 'none', limit + 1, delay_s or 'none', answer, #ids, ids[1]}
"""
GIVEN = {"word": "a", "more": "b", "limit": 2, "delay_s": 3, "sure": True, "ids": ["x", "y"]}


@pytest.fixture
def echo(redis: Redis, tmp_path: Path) -> Scripts:
    """Scripts that include ``echo``."""
    for name in INCLUDES:
        (tmp_path / f"{name}.lua").write_text("local unused = 1\n")
    (tmp_path / "echo.lua").write_text(ECHO)
    return Scripts(redis, tmp_path)


def test_a_script_reads_its_arguments_by_name_and_type(echo: Scripts) -> None:
    assert echo.run("echo", **GIVEN) == ["a", "b", 3, 3, "sure", 2, "x"]


def test_an_optional_argument_may_be_none_and_a_list_may_be_empty(echo: Scripts) -> None:
    given = GIVEN | {"more": None, "delay_s": None, "sure": False, "ids": []}
    assert echo.run("echo", **given) == ["a", "none", 3, "none", "unsure", 0]


@pytest.mark.parametrize("wrong", [{}, GIVEN | {"extra": 1}, {**GIVEN, "words": "a"}])
def test_other_arguments_are_refused_before_anything_is_sent(
    echo: Scripts, wrong: dict[str, object]
) -> None:
    with pytest.raises(TypeError, match="script echo"):
        echo.run("echo", **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "script",
    [
        "return 1",
        "-- Arguments:\n--   word: string\nreturn 1",
        "-- Arguments:\n--   ids: texts\n--   word: text\nreturn 1",
    ],
)
def test_a_script_must_declare_arguments_that_can_be_read(script: str) -> None:
    with pytest.raises(ValueError, match="script it d"):
        declared_arguments("it", script)


def test_connections_are_kept_while_they_are_used_and_few_later(
    echo: Scripts, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = 2 * scripts_module._KEPT
    all_at_once = threading.Barrier(together)
    exchange = scripts_module._exchange

    def exchange_together(connection: Any, command: tuple[Any, ...]) -> Any:
        all_at_once.wait(10)
        return exchange(connection, command)

    with monkeypatch.context() as patch, ThreadPoolExecutor(together) as threads:
        patch.setattr(scripts_module, "_exchange", exchange_together)
        for run in [threads.submit(echo.run, "echo", **GIVEN) for _ in range(together)]:
            run.result()
    connections = {connection for _, connection in echo._idle}
    echo.run("echo", **GIVEN)
    assert {connection for _, connection in echo._idle} == connections
    assert len(connections) == together

    monkeypatch.setattr(scripts_module, "_SPARE_S", -1.0)
    for _ in range(together):
        echo.run("echo", **GIVEN)
    assert len(echo._idle) == scripts_module._KEPT
