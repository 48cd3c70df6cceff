"""What the engine child is asked to do with one photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Order:
    """``options`` and ``output`` are the request's, as JSON objects."""

    job_id: str
    model: str
    options: dict[str, Any]
    output: dict[str, Any]
