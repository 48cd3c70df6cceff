from __future__ import annotations

import stat
from pathlib import Path

import pytest

from deploy.embedded.saved_state import SavedState
from deploy.embedded.stack import Stack
from shared.errors import StackFailed


def test_the_state_is_read_as_written_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    state = SavedState(api_key="fm_live_x", api_port=12_345, s3_ports={"s3": 1})
    state.write(tmp_path / "stack.json")
    assert SavedState.read(tmp_path / "stack.json") == state
    assert stat.S_IMODE((tmp_path / "stack.json").stat().st_mode) == 0o600


def test_a_first_start_makes_new_secrets(tmp_path: Path) -> None:
    first, second = SavedState.read(tmp_path / "a"), SavedState.read(tmp_path / "b")
    assert first.redis_password != second.redis_password
    assert first.api_key_pepper != second.api_key_pepper


@pytest.mark.parametrize("content", ["", "[]", '{"no_such_field": 1}'])
def test_a_file_that_is_not_ours_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "stack.json").write_text(content)
    with pytest.raises(StackFailed, match="cannot be understood"):
        SavedState.read(tmp_path / "stack.json")


def test_a_stack_with_such_a_file_does_not_start_and_unlocks_the_folder(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text("not ours")
    for _ in range(2):  # the second would be refused if the first still had the lock
        with pytest.raises(StackFailed, match="cannot be understood"):
            Stack(tmp_path).start()
