"""The files of the served models, and whether one of them has been replaced."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

#: An operator's model is ``NAME.safetensors``; an added one has an entry and a file of its kind.
#: A model of the catalogue has none of these names: its hash is fixed, so it is never replaced.
_SUFFIXES = (".safetensors", ".json", ".onnx", ".pth")

#: Of each file that exists: suffix, inode, time of change, size.
_Look = tuple[tuple[str, int, int, int], ...]


class ModelFiles:
    """Compares files by what ``stat`` says, so a look costs microseconds. Not thread-safe."""

    def __init__(self, models_dir: Path, names: Collection[str]) -> None:
        self._models_dir, self._names = models_dir, names
        self._kept = self._last = self._look()

    def keep(self) -> None:
        """Remember the files as they are now: what is loaded next is read from them."""
        self._kept = self._last = self._look()

    def changed(self) -> list[str]:
        """Return the models whose files are not the remembered ones.

        A file that is being copied changes from look to look: its model is returned once two looks
        in a row saw the same. A model whose files are all gone is not returned.
        """
        last, self._last = self._last, self._look()
        return [
            name
            for name, files in self._last.items()
            if files and files != self._kept[name] and files == last[name]
        ]

    @property
    def as_kept(self) -> bool:
        """Whether all files are still the remembered ones."""
        return self._look() == self._kept

    def _look(self) -> Mapping[str, _Look]:
        return {name: tuple(self._files_of(name)) for name in self._names}

    def _files_of(self, name: str) -> list[tuple[str, int, int, int]]:
        found = []
        for suffix in _SUFFIXES:
            try:
                seen = (self._models_dir / f"{name}{suffix}").stat()
            except OSError:
                continue
            found.append((suffix, seen.st_ino, seen.st_mtime_ns, seen.st_size))
        return found
