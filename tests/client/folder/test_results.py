from __future__ import annotations

from pathlib import Path

from facemend.folder.record import Record, Version
from facemend.folder.results import RECORD_NAME, FolderResults


def test_a_line_that_was_cut_spoils_no_other(tmp_path: Path) -> None:
    """A full disk or a kill ends a line in the middle; the next one begins anew."""
    results = FolderResults(tmp_path)
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).touch()
        if name == "b.jpg":
            with (tmp_path / RECORD_NAME).open("ab") as file:
                file.write(b'{"photo": "x.jp')
        Record(results, "").add(name, Version(1, 2), [tmp_path / name])
    assert len(Record(results, "").results()) == 3
    assert (tmp_path / RECORD_NAME).read_bytes().count(b"\n\n") == 0
