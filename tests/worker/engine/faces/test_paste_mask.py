from __future__ import annotations

import numpy as np
import pytest

from worker.engine.faces.paste_mask import face_mask
from worker.imaging.geometry import TEMPLATES, template_points, transform


def test_the_mask_is_one_at_the_landmarks_and_zero_at_the_border() -> None:
    for template in TEMPLATES:
        points = template_points(template, 256)
        mask = face_mask(points, 256)
        x, y = points.round().astype(int).T
        assert mask[y, x].min() == 1
        assert max(mask[:13].max(), mask[-13:].max(), mask[:, :13].max(), mask[:, -13:].max()) == 0
        assert (mask.min(), mask.max()) == (0, 1)
        assert np.abs(np.diff(mask, axis=0)).max() < 0.15


def test_the_mask_follows_a_tilted_head() -> None:
    points = template_points("ffhq", 256)
    c, s = np.cos(np.radians(30)), np.sin(np.radians(30))
    tilt = np.array([[c, -s, 0], [s, c, 0]])
    tilt[:, 2] = [128, 140] - tilt[:, :2] @ [128, 140]
    upright, tilted = face_mask(points, 256), face_mask(transform(points, tilt), 256)
    forehead = points[:2].mean(0) - [0, 45]
    x, y = transform(forehead[None], tilt)[0].round().astype(int)
    assert tilted[y, x] == pytest.approx(upright[round(forehead[1]), round(forehead[0])], abs=0.1)
