"""A place in a bucket: ``s3://bucket/prefix``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

_SCHEME = "s3://"


@dataclass(frozen=True, slots=True)
class Location:
    """The objects of a bucket whose keys begin with ``prefix``, which is empty or ends with /."""

    bucket: str
    prefix: str

    def __str__(self) -> str:
        return f"{_SCHEME}{self.bucket}/{self.prefix}"

    def below(self, name: str) -> Location:
        """Return the place ``name`` in this one."""
        return Location(self.bucket, f"{self.prefix}{name}/")

    def contains(self, other: Location) -> bool:
        """Return whether the keys of ``other`` are keys of this place, too."""
        return self.bucket == other.bucket and other.prefix.startswith(self.prefix)


class FolderOrLocation(click.ParamType[Path | Location]):
    """An argument: a folder of this machine (a Path), or a Location."""

    name = "folder or s3://bucket/prefix"

    def __init__(self, *, exists: bool = False) -> None:
        self._folder = click.Path(exists=exists, file_okay=False, path_type=Path)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path | Location:
        if isinstance(value, Path | Location):
            return value
        if not value.startswith(_SCHEME):
            folder: Path = self._folder.convert(value, param, ctx)
            return folder
        bucket, _, prefix = value.removeprefix(_SCHEME).partition("/")
        if not bucket:
            self.fail(f"{value}: the name of the bucket is missing: s3://bucket/prefix", param, ctx)
        return Location(bucket, prefix if prefix.endswith("/") or not prefix else f"{prefix}/")
