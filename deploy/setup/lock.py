"""Write the lock files in requirements/: ``make lock``, after a change of pyproject.toml.

One resolution serves Python 3.11 to 3.14 and every platform; each package has its hashes. torch is
not locked here: deploy/setup/torch_build.py has its version.
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
#: Lock file → its inputs: files, and extras of pyproject.toml.
LOCKS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "installer.lock": (("requirements/installer.in",), ()),
    "api.lock": (("pyproject.toml",), ("api",)),
    "worker.lock": (("pyproject.toml", "requirements/torch.in"), ("worker", "openvino")),
    "run.lock": (
        ("pyproject.toml", "requirements/torch.in", "requirements/build.in"),
        ("api", "worker", "openvino", "embedded", "heif"),
    ),
    "dev.lock": (
        ("pyproject.toml", "requirements/torch.in", "requirements/build.in"),
        (
            *("api", "worker", "background", "identity", "onnx", "openvino"),
            *("embedded", "demo", "heif", "training", "c2pa", "otel", "sentry", "spandrel", "dev"),
        ),
    ),
    "build.lock": (("requirements/build.in",), ()),
    "bare.lock": (("requirements/bare.in",), ()),
    "bare-demo.lock": (("requirements/bare-demo.in",), ()),
    "bare-dev.lock": (("requirements/bare-dev.in",), ()),
    "s3.lock": (("requirements/s3.in",), ()),
}
#: Packages that are left out: they are installed in another way, or not at all.
_LEFT_OUT = ("torch", "torchvision", "facexlib", "opencv-python")


def fingerprint() -> str:
    """Return the SHA-256 of all inputs, which the first line of each lock file repeats."""
    # Comments, our own version and the settings of tools do not change what is installed.
    project = (ROOT / "pyproject.toml").read_text().partition("[project.scripts]")[0]
    texts = [project, *(path.read_text() for path in sorted(REQUIREMENTS.glob("*.in")))]
    digest = hashlib.sha256()
    for line in "\n".join(texts).splitlines():
        if not line.startswith(("#", "version = ")):
            digest.update(line.partition("  # ")[0].encode() + b"\n")
    return digest.hexdigest()


def main() -> None:
    """Resolve and write all lock files; this needs the package index."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        uv = str(REQUIREMENTS / "installer.in")
        _run([str(python), "-m", "pip", "install", "--quiet", "-r", uv])
        overrides = Path(folder) / "overrides.txt"
        overrides.write_text("".join(f'{name} ; sys_platform == "never"\n' for name in _LEFT_OUT))
        for name, (files, extras) in LOCKS.items():
            target = Path(folder) / name
            old = REQUIREMENTS / (name if (REQUIREMENTS / name).exists() else "dev.lock")
            target.write_bytes(old.read_bytes())  # keeps the versions, unless --upgrade is given
            argv = [str(Path(folder) / "bin" / "uv"), "pip", "compile", *files]
            argv += [f"--extra={extra}" for extra in extras]
            argv += ["--universal", "--python-version=3.11", "--generate-hashes", "--quiet"]
            argv += ["--no-header", "--no-emit-index-url", f"--output-file={target}"]
            argv += ["--no-deps"] if name.startswith("bare") else [f"--overrides={overrides}"]
            argv += ["--upgrade"] if "--upgrade" in sys.argv else []
            _run(argv)
            head = f"# Made by `make lock` from {fingerprint()}\n"
            (REQUIREMENTS / name).write_text(head + _without_never(target.read_text()))


def _without_never(lock: str) -> str:
    """Remove packages whose marker is never true, so that no reader takes them for installed."""
    blocks = re.split(r"(?m)^(?=[a-z0-9])", lock)
    kept = [block for block in blocks if "sys_platform == 'never'" not in block.partition("\n")[0]]
    return "".join(kept)


def _run(argv: list[str]) -> None:
    subprocess.run(argv, check=True, cwd=ROOT)  # noqa: S603  # fixed commands


if __name__ == "__main__":
    main()
