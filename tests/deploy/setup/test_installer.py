from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from deploy.setup import installer
from deploy.setup.install import cache_folder
from deploy.setup.installer import Installer, InstallFailed, pip, variables


@pytest.fixture
def pip_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only configuration of pip."""
    for name in ("PIP_CERT", "PIP_FIND_LINKS", "PIP_INDEX_URL", "UV_DEFAULT_INDEX"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "pip.conf"
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    return file


def test_uv_gets_what_pip_is_told(pip_conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_conf.write_text(
        "[global]\nindex-url = https://user:secret@mirror.example/simple\n"
        "extra-index-url = file:///one file:///two\nfind-links = /wheels /more\n"
        "proxy = http://proxy.example:3128\ncert = /etc/own.pem\n"
    )
    monkeypatch.setenv("PIP_CERT", "/etc/newer.pem")
    found = variables({})
    assert found["UV_DEFAULT_INDEX"] == "https://user:secret@mirror.example/simple"
    assert found["UV_INDEX"] == "file:///one file:///two"
    assert found["UV_FIND_LINKS"].split(",")[:2] == ["/wheels", "/more"]
    assert found["ALL_PROXY"] == "http://proxy.example:3128"
    assert found["SSL_CERT_FILE"] == "/etc/newer.pem"


def test_what_is_said_to_uv_itself_has_precedence(pip_conf: Path) -> None:
    pip_conf.write_text("[global]\nindex-url = https://mirror.example/simple\n")
    assert "UV_DEFAULT_INDEX" not in variables({"UV_DEFAULT_INDEX": "https://own.example"})


def test_uv_is_kept_in_the_cache() -> None:
    cache = cache_folder(os.environ)
    before = sorted(cache.iterdir())
    Installer(cache)
    assert sorted(cache.iterdir()) == before
    assert [path.name for path in before if path.name.startswith("uv-")]


def test_an_error_has_the_last_lines_of_the_installer() -> None:
    installer = Installer(cache_folder(os.environ))
    with pytest.raises(InstallFailed, match="no-such-thing was not found"):
        installer.install(Path(sys.executable), "--no-index", "no-such-thing")


def test_a_damaged_wheel_of_pip_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.whl").write_bytes(b"damaged")
    monkeypatch.setattr(installer, "PIP_WHEEL", tmp_path / "pip.whl")
    with pytest.raises(InstallFailed, match="is damaged"):
        pip()
