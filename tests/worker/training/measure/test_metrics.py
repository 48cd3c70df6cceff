"""PSNR and SSIM against values known by other means."""

from __future__ import annotations

import math

import numpy as np
import pytest

from worker.training.measure.metrics import psnr, ssim


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (32, 40, 3), dtype=np.uint8)


def test_equal_images_are_perfect(image: np.ndarray) -> None:
    assert psnr(image, image) == math.inf
    assert ssim(image, image) == pytest.approx(1.0)


def test_psnr_of_a_constant_error_is_known(image: np.ndarray) -> None:
    base = image // 2
    assert psnr(base + 10, base) == pytest.approx(20 * math.log10(255 / 10))


def test_psnr_does_not_wrap_around_at_zero() -> None:
    black, grey = np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 250, np.uint8)
    assert psnr(black, grey) == psnr(grey, black) == pytest.approx(20 * math.log10(255 / 250))


def test_ssim_of_flat_images_is_the_luminance_term() -> None:
    dark, light = (np.full((16, 16, 3), level, np.uint8) for level in (50, 100))
    c1 = (0.01 * 255) ** 2
    expected = (2 * 50 * 100 + c1) / (50**2 + 100**2 + c1)
    assert ssim(dark, light) == pytest.approx(expected)


def test_ssim_agrees_with_scikit_image(image: np.ndarray) -> None:
    measure = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    noisy = np.clip(image + np.random.default_rng(2).normal(0, 20, image.shape), 0, 255)
    noisy = noisy.astype(np.uint8)
    expected = measure.structural_similarity(
        image,
        noisy,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
    )
    assert ssim(image, noisy) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("measure", [psnr, ssim])
@pytest.mark.parametrize("shape", [(32, 32, 3), (8, 8, 3), (32, 32)])
def test_shapes_that_cannot_be_compared_are_refused(measure, shape) -> None:  # type: ignore[no-untyped-def]
    reference = np.zeros((32, 40, 3) if shape == (32, 32, 3) else shape, np.uint8)
    with pytest.raises(ValueError, match="images"):
        measure(np.zeros(shape, np.uint8), reference)
