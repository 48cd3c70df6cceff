"""Where a face lies, and moving pixels between the photo and the aligned crop.

An affine is a float64 (2, 3) matrix that maps pixel centres of the photo to those of the crop.
Images are uint8 RGB (H, W, 3). A crop is square.
"""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Affine = NDArray[np.float64]
Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
Resampling = Literal["nearest", "linear", "cubic", "area"]

_INTERPOLATIONS: dict[Resampling, int] = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_CUBIC,
}

#: Reference points at 512 px: left eye, right eye, nose, left and right corner of the mouth.
#: They differ in scale, so a model only works with the template it was trained on.
TEMPLATES: dict[str, NDArray[np.float64]] = {
    "ffhq": np.array(
        [
            (192.98138, 239.94708),
            (318.90277, 240.1936),
            (256.63416, 314.01935),
            (201.26117, 371.41043),
            (313.08905, 371.15118),
        ]
    ),
    "gpen": np.array(
        [
            (202.041, 242.884),
            (309.430, 242.290),
            (256.077, 303.959),
            (211.960, 366.828),
            (300.891, 366.336),
        ]
    ),
    # InsightFace's points for 112 px, moved by 8 px to the right, in a crop of 128 px: faces are
    # larger and higher in it. (Deng et al., ArcFace, arXiv 1801.07698.)
    "arcface": np.array(
        [
            (185.1784, 206.7852),
            (326.1272, 206.0056),
            (256.1008, 286.9464),
            (198.1972, 369.462),
            (314.9196, 368.8164),
        ]
    ),
}

#: Above this scale averaging would cost more sharpness than the interpolation loses pixels.
_NO_AVERAGING = 0.75
_MOST_MIRRORS = 16


def template_points(template: str, size_px: int) -> NDArray[np.float64]:
    """Reference points (5, 2) in a crop of ``size_px``."""
    return TEMPLATES[template] * (size_px / 512)


def similarity(source: NDArray[np.float64], target: NDArray[np.float64]) -> Affine:
    """Rotation, uniform scale and shift that bring ``source`` (N, 2) closest to ``target`` (N, 2).

    Least squares; Umeyama, "Least-squares estimation of transformation parameters between two
    point patterns", IEEE PAMI 13(4), 1991. Never mirrors. Points that all lie on one spot give the
    smallest scale that is still invertible.
    """
    source_mean, target_mean = source.mean(0), target.mean(0)
    a, b = source - source_mean, target - target_mean
    u, spread, vt = np.linalg.svd(b.T @ a / len(a))
    signs = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt)) or 1.0])
    rotation = u @ np.diag(signs) @ vt
    scale = max(float((spread * signs).sum() / max(a.var(0).sum(), 1e-12)), 1e-6)
    shift = target_mean - scale * rotation @ source_mean
    return np.hstack((scale * rotation, shift[:, None]))


def scale_of(affine: Affine) -> float:
    """Crop pixels per photo pixel."""
    return float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))


def transform(points: NDArray[np.float64], affine: Affine) -> NDArray[np.float64]:
    """Points (N, 2) of the photo as points of the crop."""
    return np.asarray(points @ affine[:, :2].T + affine[:, 2])


def fit_square(height: int, width: int, size_px: int) -> Affine:
    """The affine that centres a whole photo in a crop, touching its longer sides."""
    scale = size_px / max(height, width)
    shift = [(size_px - width * scale) / 2, (size_px - height * scale) / 2]
    return _about_corners(np.array([[scale, 0, shift[0]], [0, scale, shift[1]]]))


def enlarged(affine: Affine, scale: int) -> Affine:
    """The affine of the same crop for the photo made ``scale`` times as large."""
    return _compose(affine, _about_corners(np.array([[1 / scale, 0, 0], [0, 1 / scale, 0]])))


def crop(image: Image, affine: Affine, size_px: int, resampling: Resampling = "area") -> Image:
    """The aligned crop (size_px, size_px, 3). Beyond the photo's border it is mirrored.

    Where the photo would have to be mirrored again and again, its outermost pixels are repeated.
    ``area`` averages where the photo is finer than the crop, and is ``cubic`` elsewhere; the others
    look at one, four or sixteen pixels of the photo, however many lie under one of the crop.
    """
    x0, y0, x1, y1 = _footprint(affine, size_px, image.shape[:2])
    scale = scale_of(affine) if resampling == "area" else 1.0
    part, to_part = _shrink(image[y0:y1, x0:x1], scale)
    matrix = _compose(affine, inverse(_compose(to_part, _shift(-x0, -y0))))
    how = _INTERPOLATIONS[resampling]
    return _warp(part, matrix, (size_px, size_px), _border(matrix, size_px, part.shape), how)


def uncrop(crop_values: Floats, affine: Affine, region: tuple[int, int, int, int]) -> Floats:
    """Values (S, S) or (S, S, C) of a crop, brought back to the photo's ``region`` x0 y0 x1 y1."""
    x0, y0, x1, y1 = region
    small, to_small = _shrink(crop_values, 1 / scale_of(affine))
    matrix = _compose(_shift(-x0, -y0), inverse(_compose(to_small, affine)))
    return np.asarray(_warp(small, matrix, (x1 - x0, y1 - y0), cv2.BORDER_REPLICATE), np.float32)


def region_of(mask: Floats, affine: Affine, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The photo's region x0 y0 x1 y1 that a crop's mask can touch; empty if it lies outside."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0, 0, 0, 0
    low = np.array([columns[0] - 1, rows[0] - 1])
    high = np.array([columns[-1] + 1, rows[-1] + 1])
    return _bounds(affine, low, high, shape, margin_px=1)


def smooth(values: Floats) -> Floats:
    """The 3x3 kernel [1,2,1] x [1,2,1] / 16 over (S, S, C): calms what a small face cannot hold."""
    return np.asarray(cv2.GaussianBlur(values, (3, 3), 0), np.float32)


def _border(matrix: Affine, size_px: int, shape: tuple[int, ...]) -> int:
    """How OpenCV is to go on beyond ``shape``: mirroring takes it a step for each time over."""
    corners = np.array([(x, y) for x in (0, size_px) for y in (0, size_px)], np.float64)
    reach = np.abs(transform(corners, inverse(matrix))).max(0)
    far = (reach > _MOST_MIRRORS * np.array([shape[1], shape[0]])).any()
    return cv2.BORDER_REPLICATE if far else cv2.BORDER_REFLECT_101


def _warp(
    image: NDArray[Any],
    matrix: Affine,
    size: tuple[int, int],
    border: int,
    how: int = cv2.INTER_CUBIC,
) -> NDArray[Any]:
    return np.asarray(
        cv2.warpAffine(image, matrix, size, flags=how, borderMode=border), image.dtype
    )


def _shrink(image: NDArray[Any], scale: float) -> tuple[NDArray[Any], Affine]:
    """Averaged down to about ``scale``, so that warping it on loses no pixel; and how it moved."""
    height, width = image.shape[:2]
    if scale >= _NO_AVERAGING or not height or not width:
        return image, _shift(0, 0)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small), _about_corners(
        np.array([[size[0] / width, 0, 0], [0, size[1] / height, 0]])
    )


def _footprint(affine: Affine, size_px: int, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The part of the photo that a crop shows, with what the interpolation needs around it."""
    margin_px = 2 + int(np.ceil(2 / scale_of(affine)))
    x0, y0, x1, y1 = _bounds(
        affine, np.zeros(2), np.full(2, size_px - 1.0), shape, margin_px=margin_px
    )
    if x0 < x1 and y0 < y1:
        return x0, y0, x1, y1
    return 0, 0, shape[1], shape[0]


def _bounds(
    affine: Affine,
    low: NDArray[Any],
    high: NDArray[Any],
    shape: tuple[int, ...],
    margin_px: int,
) -> tuple[int, int, int, int]:
    """Bounding box in the photo of a rectangle in the crop, cut at the photo's borders."""
    corners = np.array([(x, y, 1) for x in (low[0], high[0]) for y in (low[1], high[1])])
    points = corners @ inverse(affine).T
    limit = np.array([shape[1], shape[0]])
    start = (np.floor(points.min(0)) - margin_px).clip(0, limit).astype(int)
    stop = (np.ceil(points.max(0)) + margin_px + 1).clip(0, limit).astype(int)
    return int(start[0]), int(start[1]), int(stop[0]), int(stop[1])


def _about_corners(matrix: Affine) -> Affine:
    """From corner-based coordinates, where sizes simply scale, to pixel centres."""
    return _compose(_compose(_shift(-0.5, -0.5), matrix), _shift(0.5, 0.5))


def _shift(x: float, y: float) -> Affine:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y]])


def _compose(second: Affine, first: Affine) -> Affine:
    return np.asarray((np.vstack((second, [0, 0, 1])) @ np.vstack((first, [0, 0, 1])))[:2])


def inverse(affine: Affine) -> Affine:
    """From the crop to the photo."""
    return np.asarray(np.linalg.inv(np.vstack((affine, [0, 0, 1])))[:2])
