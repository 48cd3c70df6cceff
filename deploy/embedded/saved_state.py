"""The saved state of an embedded stack: its secrets and ports, in one file."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from shared.atomic_file import replaced_atomically
from shared.errors import StackFailed
from shared.provenance.signing_keys import new_signing_key


@dataclass
class SavedState:
    """Made at the first start in a folder. ``api_key`` is shown at each start."""

    redis_password: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    redis_admin_password: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    s3_access_key_id: str = field(default_factory=lambda: secrets.token_hex(10))
    s3_secret_access_key: str = field(default_factory=lambda: secrets.token_urlsafe(30))
    api_key_pepper: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    provenance_key: str = field(default_factory=new_signing_key)
    api_key: str | None = None
    api_port: int | None = None
    redis_port: int | None = None
    s3_ports: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> SavedState:
        """Return the saved state, or new secrets if there is no file. Raises StackFailed."""
        if not path.exists():
            return cls()
        try:
            content: dict[str, Any] = json.loads(path.read_text())
            return cls(**content)
        except (ValueError, TypeError) as error:
            raise StackFailed(f"{path} cannot be understood: {error}") from None

    def write(self, path: Path) -> None:
        """Replace the file in one step; only its owner may read it."""
        with replaced_atomically(path) as unfinished:
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(asdict(self), file, indent=2)
