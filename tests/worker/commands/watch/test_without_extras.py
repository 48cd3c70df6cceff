"""``facemend submit`` and ``facemend watch --server`` need no extra of the package."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"numpy", "torch", "cv2", "PIL", "flask", "facexlib", "boto3"}:
            raise ImportError(name)

sys.meta_path.insert(0, Missing())
import facemend.client, worker.cli
import worker.commands.submit, worker.commands.watch.command
import worker.commands.watch.places, worker.commands.watch.restorers, worker.commands.watch.watching
"""


def test_no_library_of_an_extra_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
