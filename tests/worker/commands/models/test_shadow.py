"""``facemend models shadow``: the sums of shadow runs as a table."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from shared.jobs.shadow_sums import ModelPair, ShadowFigures, ShadowSums
from shared.redis.scripts import Scripts
from worker.cli import main
from worker.commands.models.shadow import ENOUGH_JOBS

PAIR = ModelPair("mine", "1" * 64, "old", "2" * 64)
FIGURES = ShadowFigures(
    jobs=ENOUGH_JOBS,
    faces=120,
    old_restored=100,
    new_restored=80,
    old_kept=20,
    new_kept=39,
    new_failed=1,
    old_ms=4_000,
    new_ms=4_800,
    compared=100,
    old_sharpness=150,
    new_sharpness=200,
    sharpness_squares=50,
    old_sharper=10,
    new_sharper=90,
    identified=50,
    old_identity=45,
    new_identity=40,
    identity_squares=1,
    old_nearer=40,
    new_nearer=10,
    squared_error=6_502.5,
)
Shadow = Callable[..., Result]


@pytest.fixture
def shadow(stack_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Shadow:
    for name, value in stack_settings.items():
        monkeypatch.setenv(f"FACEMEND_{name.upper()}", str(value))
    arguments = ["models", "shadow", "mine", "--over", "old"]
    return lambda *words: CliRunner().invoke(main, [*arguments, *words], catch_exceptions=False)


@pytest.fixture
def sums(scripts: Scripts) -> ShadowSums:
    return ShadowSums(scripts)


def rows(result: Result) -> dict[str, list[str]]:
    """Return the cells of the table by measure."""
    lines = [line[1:-1].split("|") for line in result.stdout.splitlines() if line[:1] == "|"]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_the_table_has_each_measure_of_both_and_the_difference(
    shadow: Shadow, sums: ShadowSums
) -> None:
    sums.add(PAIR, FIGURES)
    sums.add_dropped(PAIR)
    sums.add_failed(PAIR, "out-of-memory")
    result = shadow()
    assert (result.exit_code, result.stderr) == (0, "")
    first, _, counts, psnr, *_ = result.stdout.splitlines()
    assert first == f"mine ({'1' * 12}) in the shadow of old ({'2' * 12})"
    assert counts == (
        "100 jobs, 120 faces, 100 of them compared; dropped 1; failed 1 out-of-memory"
    )
    assert psnr == "PSNR of one result against the other: 30.0 dB"
    assert rows(result) == {
        "measure": ["old", "mine", "difference"],
        "---": ["---", "---", "---"],
        "faces restored": ["100", "80", "-20"],
        "faces kept as they were": ["20", "39", "+19"],
        "faces failed": ["0", "1", "+1"],
        "sharpness over the input's": ["1.5000", "2", "+0.5000 ± 0.0985"],
        "the sharper of the two": ["10", "90", "+80"],
        "identity similarity": ["0.9000", "0.8000", "-0.1000 ± 0.0280"],
        "the nearer of the two": ["40", "10", "-30"],
        "ms per restored face": ["40", "60", "+20"],
    }


def test_json_has_the_same_for_programs(shadow: Shadow, sums: ShadowSums) -> None:
    sums.add(PAIR, FIGURES)
    found = json.loads(shadow("--json").stdout)
    assert found["new"] == {"name": "mine", "sha256": "1" * 64}
    assert (found["jobs"], found["enough"], found["psnr_db"]) == (100, True, 30.0)
    (sharpness,) = [row for row in found["measures"] if row["measure"].startswith("sharpness")]
    assert (sharpness["old"], sharpness["new"], sharpness["difference"]) == (1.5, 2.0, 0.5)


def test_few_jobs_are_no_judgement(shadow: Shadow, sums: ShadowSums) -> None:
    sums.add(PAIR, ShadowFigures(jobs=ENOUGH_JOBS - 1))
    result = shadow()
    assert result.exit_code == 0
    assert "Too few jobs to judge by: 99; wait for 100 or more." in result.stderr
    assert rows(result)["sharpness over the input's"] == ["", "", ""]
    assert json.loads(shadow("--json").stdout)["enough"] is False


def test_without_a_job_it_says_how_to_begin(shadow: Shadow, sums: ShadowSums) -> None:
    result = shadow()
    assert (result.exit_code, result.stdout) == (0, "")
    assert "No job of old was compared with mine" in result.stderr
    assert "FACEMEND_SHADOW_MODEL=mine" in result.stderr
    assert json.loads(shadow("--json").stdout) is None
    sums.add_failed(PAIR, "crashed")
    result = shadow()
    assert "failed 1 crashed" in result.stdout
    assert "No job of old was compared with mine" in result.stderr


def test_a_reset_begins_anew(shadow: Shadow, sums: ShadowSums) -> None:
    sums.add(PAIR, FIGURES)
    assert "are removed" in shadow("--reset").stdout
    assert sums.latest("mine", "old") is None
