"""The release before this one, from the history of the repository; and what it left behind.

With each release, its commit becomes ``PREVIOUS``, and ``API`` how its API is started. Then
``python -m tests.record_release`` writes ``RECORDING`` again.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.conftest import ROOT

#: No release came before 1.0.0rc1, so this is a commit of the week before it.
PREVIOUS = "faf44f455b038ec588c7813a24aad7b5e4f7a43d"
#: What its processes wrote into Redis and S3, for clones without the history.
RECORDING = ROOT / "tests" / "data" / "previous_release.json"
#: The arguments of ``python -m`` that start the API of that commit, in its folder.
API = ("gunicorn", "--config", "{folder}/deploy/gunicorn.conf.py", "api.wsgi:app")


class NoHistory(Exception):  # the test that catches it is skipped
    """The clone does not have the commit: it is shallow, or not a clone."""


def unpack_previous(folder: Path) -> Path:
    """Write the files of the previous release to ``folder``, and return it. Raises NoHistory."""
    argv = ["git", "-C", str(ROOT), "archive", "--format=tar", PREVIOUS]
    try:
        done = subprocess.run(argv, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise NoHistory("git is not installed") from error
    if done.returncode:
        raise NoHistory(f"the clone does not have commit {PREVIOUS[:7]}")
    folder.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=done.stdout, check=True)
    return folder
