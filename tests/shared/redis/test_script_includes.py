"""A script gets the common functions that it uses, and whatever those use."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from shared.redis.client import PRELUDE, prelude
from shared.redis.script_includes import linked

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
    made = linked(COMMON, "return shout()")
    assert "local function shout" in made
    assert "local function say" in made
    assert "local WORD" in made
    assert made.endswith("return shout()")


def test_it_gets_nothing_else() -> None:
    assert "sing" not in linked(COMMON, "return shout()")
    assert linked(COMMON, "return 1") == "return 1"


def test_the_order_stays() -> None:
    made = linked(COMMON, "return {sing(), shout()}")
    places = [made.index(f"function {name}(") for name in ("say", "shout", "sing")]
    assert places == sorted(places)


def test_a_name_in_a_comment_or_a_string_is_no_use() -> None:
    script = "-- Redis' own sing\nreturn 'sing'"
    assert linked(COMMON, script) == script


def test_a_name_right_behind_two_dots_is_one() -> None:
    assert "local function sing" in linked(COMMON, "return 'x'..sing()")


SCRIPTS = {
    path.stem: path
    for path in Path(str(resources.files("shared") / "lua")).rglob("*.lua")
    if path.stem not in PRELUDE
}


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_no_script_carries_all(name: str) -> None:
    script = SCRIPTS[name].read_text("utf-8")
    made = linked(prelude(), script)
    assert made.endswith(script)
    assert len(made) < len(prelude()) + len(script)
