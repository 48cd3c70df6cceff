from __future__ import annotations

import stat
from pathlib import Path

import pytest

from deploy.embedded.saved_state import Memory
from deploy.embedded.stack import Stack
from shared.errors import StackFailed


def test_what_is_written_is_read_again_and_only_we_may_read_it(tmp_path: Path) -> None:
    memory = Memory(api_key="fm_live_x", api_port=12_345, s3_ports={"s3": 1})
    memory.write(tmp_path / "stack.json")
    assert Memory.read(tmp_path / "stack.json") == memory
    assert stat.S_IMODE((tmp_path / "stack.json").stat().st_mode) == 0o600


def test_a_first_start_makes_secrets_of_its_own(tmp_path: Path) -> None:
    first, second = Memory.read(tmp_path / "a"), Memory.read(tmp_path / "b")
    assert first.redis_password != second.redis_password
    assert first.api_key_pepper != second.api_key_pepper


@pytest.mark.parametrize("content", ["", "[]", '{"no_such_field": 1}'])
def test_a_file_that_is_not_ours_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "stack.json").write_text(content)
    with pytest.raises(StackFailed, match="cannot be understood"):
        Memory.read(tmp_path / "stack.json")


def test_a_stack_with_such_a_file_does_not_start_and_lets_go_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text("not ours")
    for _ in range(2):  # the second would be refused if the first still held it
        with pytest.raises(StackFailed, match="cannot be understood"):
            Stack(tmp_path).start()
