"""Sharpness is measured inside the face, and is 1 for the original itself."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from worker.imaging.geometry import template_points
from worker.training.data.degradations import Image
from worker.training.measure.sharpness import feature_distance, gradient_ratio

POINTS = template_points("ffhq", 64)


@pytest.fixture
def original() -> Image:
    return np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def test_the_original_is_as_sharp_as_itself(original: Image) -> None:
    assert gradient_ratio(original, original, POINTS) == 1.0


def test_blur_lowers_it_and_contrast_raises_it_by_its_square(original: Image) -> None:
    blurred = np.asarray(cv2.GaussianBlur(original, (0, 0), 2.0), np.uint8)
    assert gradient_ratio(blurred, original, POINTS) < 0.2
    halved = (original // 2).astype(np.uint8)
    assert gradient_ratio(original, halved, POINTS) == pytest.approx(4.0, rel=0.05)


def test_what_lies_outside_the_face_does_not_count(original: Image) -> None:
    changed = original.copy()
    changed[:4] = 0
    assert gradient_ratio(changed, original, POINTS) == 1.0


def test_a_flat_reference_has_nothing_to_compare_with(original: Image) -> None:
    assert gradient_ratio(original, np.zeros_like(original), POINTS) == 1.0


def test_features_are_compared_by_the_means_of_the_second_map(original: Image) -> None:
    def features(image: Image) -> list[Tensor]:
        x = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        return [torch.zeros(1), x]

    brighter = (original * 0.0 + original.mean((0, 1)) * 1.1).astype(np.uint8)
    assert feature_distance(original, original, features) == 0.0
    assert feature_distance(brighter, original, features) == pytest.approx(0.1, abs=0.01)
