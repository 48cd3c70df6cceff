"""Write the lock files of requirements/: ``make lock``, after a change of pyproject.toml.

One resolution for Python 3.11 to 3.14 and every platform, each file with its hash. torch is not in
them: see deploy/setup/install.py.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements"
UV = "uv==0.13.8"
#: Lock file → what goes in: files, and extras of pyproject.toml.
LOCKS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "api.lock": (("pyproject.toml",), ("api",)),
    "worker.lock": (("pyproject.toml", "requirements/torch.in"), ("worker", "openvino")),
    "dev.lock": (
        ("pyproject.toml", "requirements/torch.in", "requirements/build.in"),
        (
            "api",
            "worker",
            "background",
            "identity",
            "onnx",
            "openvino",
            "embedded",
            "demo",
            "heif",
            "training",
            "dev",
        ),
    ),
    "build.lock": (("requirements/build.in",), ()),
    "bare.lock": (("requirements/bare.in",), ()),
    "s3.lock": (("requirements/s3.in",), ()),
}
#: Whatever asks for these gets none: they are installed another way, or must not be.
_ELSEWHERE = ("torch", "torchvision", "facexlib", "opencv-python")


def fingerprint() -> str:
    """SHA-256 over all that the lock files are made from; their first line has it."""
    digest = hashlib.sha256(UV.encode())
    project = (ROOT / "pyproject.toml").read_text()
    # Only what is installed: the settings of ruff and mypy change nothing.
    digest.update(project.partition("[project.scripts]")[0].encode())
    for path in sorted(REQUIREMENTS.glob("*.in")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def main() -> None:
    """Resolve and write them all; needs the package index."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        _run([str(python), "-m", "pip", "install", "--quiet", UV])
        overrides = Path(folder) / "overrides.txt"
        overrides.write_text("".join(f'{name} ; sys_platform == "never"\n' for name in _ELSEWHERE))
        for name, (files, extras) in LOCKS.items():
            target = Path(folder) / name
            if (REQUIREMENTS / name).exists():  # keep what is pinned; UPGRADE=1 moves everything
                target.write_bytes((REQUIREMENTS / name).read_bytes())
            argv = [str(Path(folder) / "bin" / "uv"), "pip", "compile", *files]
            argv += [f"--extra={extra}" for extra in extras]
            argv += ["--universal", "--python-version=3.11", "--generate-hashes", "--quiet"]
            argv += ["--no-header", "--no-emit-index-url", f"--output-file={target}"]
            argv += ["--no-deps"] if name == "bare.lock" else [f"--overrides={overrides}"]
            argv += ["--upgrade"] if "--upgrade" in sys.argv else []
            _run(argv)
            head = f"# Made by `make lock` from {fingerprint()}\n"
            (REQUIREMENTS / name).write_text(head + _without_never(target.read_text()))


def _without_never(lock: str) -> str:
    """Drop the packages whose marker is never true, so that nobody reads them as installed."""
    blocks = re.split(r"(?m)^(?=[a-z0-9])", lock)
    kept = [block for block in blocks if "sys_platform == 'never'" not in block.partition("\n")[0]]
    return "".join(kept)


def _run(argv: list[str]) -> None:
    subprocess.run(argv, check=True, cwd=ROOT)  # noqa: S603  # our own command lines


if __name__ == "__main__":
    main()
