"""The memory that a photo of 40 million pixels takes: ``python -m benchmarks.large_photo``.

Run in a process of its own: the peak that the kernel tells is that of all it ever did.
"""

from __future__ import annotations

import io
import resource
import tempfile
from pathlib import Path

import click
import cv2
import numpy as np
from PIL import Image

from benchmarks.faces import crowd
from benchmarks.report import Report
from worker.engine import FaceOptions, load_restorer
from worker.imaging.decode import decode
from worker.imaging.encode import encode
from worker.imaging.limits import Limits
from worker.imaging.sixteen_bit import png
from worker.weights.catalogue import STARTER

RESULTS = Path(__file__).parent / "results"
_WIDTH_PX, _HEIGHT_PX = 7300, 5475


@click.command()
@click.option("--deep", is_flag=True, help="A PNG of 16 bits a channel in place of a JPEG.")
def main(*, deep: bool) -> None:
    """Decode, restore and encode one large photo, and say how much memory there was at most."""
    name, pixels = crowd()
    large = cv2.resize(pixels, (_WIDTH_PX, _HEIGHT_PX), interpolation=cv2.INTER_CUBIC)
    data = _file(np.asarray(large, np.uint8), deep=deep)
    del large
    report = Report("A large photo")
    report.say("photo", f"{name}, {_WIDTH_PX} x {_HEIGHT_PX} px, {'16' if deep else '8'} bits")
    with tempfile.TemporaryDirectory() as folder:
        restorer = load_restorer(STARTER, models_dir=Path(folder))
        report.say("peak before, MB", _peak_mb())
        photo = decode(data, Limits(max_bytes=len(data)))
        report.say("peak once decoded, MB", _peak_mb())
        done = restorer.restore(photo, FaceOptions(crops=False))
        report.say("peak once restored, MB", _peak_mb())
        encode(done.photo, "png" if deep else "jpeg", 95)
        report.say("peak once encoded, MB", _peak_mb())
        report.say("faces", f"{sum(face.status == 'restored' for face in done.faces)} restored")
        restorer.close()
    report.write(RESULTS / ("large_photo_16" if deep else "large_photo"))


def _file(pixels: np.typing.NDArray[np.uint8], *, deep: bool) -> bytes:
    if deep:
        return png(pixels.astype(np.uint16) * np.uint16(257), None)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "jpeg", quality=90)
    return out.getvalue()


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
