"""Peak memory for a photo of 40 million pixels: ``python -m benchmarks.large_photo``.

Start a new process for each measurement: the kernel reports the peak of the whole process.
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

from benchmarks.faces import group_photo
from benchmarks.report import Report
from worker.engine import FaceOptions, load_restorer
from worker.imaging.decode import decode
from worker.imaging.encode import encode
from worker.imaging.limits import Limits
from worker.imaging.png import sixteen_bit
from worker.weights.catalogue import STARTER

RESULTS = Path(__file__).parent / "results"
_WIDTH_PX, _HEIGHT_PX = 7300, 5475


@click.command()
@click.option("--deep", is_flag=True, help="Use a PNG with 16 bits per channel instead of a JPEG.")
def main(*, deep: bool) -> None:
    """Decode, restore and encode one large photo, and report the peak memory after each step."""
    name, pixels = group_photo()
    large = cv2.resize(pixels, (_WIDTH_PX, _HEIGHT_PX), interpolation=cv2.INTER_CUBIC)
    data = _file(np.asarray(large, np.uint8), deep=deep)
    del large
    report = Report("A large photo")
    report.fact("photo", f"{name}, {_WIDTH_PX} x {_HEIGHT_PX} px, {'16' if deep else '8'} bits")
    with tempfile.TemporaryDirectory() as folder:
        restorer = load_restorer(STARTER, models_dir=Path(folder))
        report.fact("peak with the model loaded, MB", _peak_mb())
        photo = decode(data, Limits(max_bytes=len(data)))
        report.fact("peak after decoding, MB", _peak_mb())
        done = restorer.restore(photo, FaceOptions(crops=False))
        report.fact("peak after restoring, MB", _peak_mb())
        encode(done.photo, "png" if deep else "jpeg", 95)
        report.fact("peak after encoding, MB", _peak_mb())
        report.fact("faces", f"{sum(face.status == 'restored' for face in done.faces)} restored")
        restorer.close()
    report.write(RESULTS / ("large_photo_16" if deep else "large_photo"))


def _file(pixels: np.typing.NDArray[np.uint8], *, deep: bool) -> bytes:
    if deep:
        return sixteen_bit(pixels.astype(np.uint16) * np.uint16(257), b"")
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "jpeg", quality=90)
    return out.getvalue()


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
