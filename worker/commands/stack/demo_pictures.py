"""The demo's pictures: a free photo, the same one spoiled, and all of them side by side."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from shared.errors import StackFailed
from worker.training.data.degradations import Recipe, degrade

# One fixed spoiling, of the kind an old scan or a messenger does: blur, a third of the size,
# grain, JPEG.
RECIPE = Recipe(blur_px=(1.2, 1.2), shrink=(3.0, 3.0), noise=(4.0, 4.0), jpeg=(60, 60))
SEED = 2
_GAP_PX, _LABEL_PX = 12, 40
Box = tuple[float, float, float, float]  # left, top, right, bottom


def free_photo() -> Image.Image:
    """NASA's portrait of the astronaut Eileen Collins: public domain, carried by scikit-image."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise StackFailed("the demo's photo comes with scikit-image: pip install 'facemend[demo]'")
    path = Path(spec.submodule_search_locations[0]) / "data" / "astronaut.png"
    with Image.open(path) as photo:
        return photo.convert("RGB")


def spoil(photo: Image.Image) -> Image.Image:
    """The same photo, spoiled the same way each time; same size."""
    return Image.fromarray(degrade(np.asarray(photo), np.random.default_rng(SEED), RECIPE))


def side_by_side(panels: dict[str, Image.Image], box: Box) -> Image.Image:
    """Label → picture, left to right; below each the face in ``box`` (pixels), enlarged.

    All pictures have the size of the first.
    """
    width, height = next(iter(panels.values())).size
    face = _around(box, width, height)
    sheet_size = (width + _GAP_PX) * len(panels) + _GAP_PX, _LABEL_PX + height + width + 2 * _GAP_PX
    sheet = Image.new("RGB", sheet_size, "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=22)
    for index, (label, picture) in enumerate(panels.items()):
        left = _GAP_PX + index * (width + _GAP_PX)
        draw.text((left + width / 2, _LABEL_PX / 2), label, "black", font, anchor="mm")
        sheet.paste(picture, (left, _LABEL_PX))
        enlarged = picture.crop(face).resize((width, width), Image.Resampling.BICUBIC)
        sheet.paste(enlarged, (left, _LABEL_PX + height + _GAP_PX))
    return sheet


def _around(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """A square around the box with some room, inside the picture."""
    left, top, right, bottom = box
    side = min(round(1.6 * max(right - left, bottom - top)), width, height)
    x = min(max(round((left + right - side) / 2), 0), width - side)
    y = min(max(round((top + bottom - side) / 2), 0), height - side)
    return x, y, x + side, y + side
